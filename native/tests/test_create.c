/* A channel's beginning: configuration, what the kernel allows, and what it says where io_uring is denied. */
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common_rig.h"

static void create_with_defaults_works(void)
{
	struct mp_channel *channel;

	CHECK_EQUAL(0, mp_create(NULL, &channel));
	CHECK(mp_lease_address(channel, 255));
	CHECK(!mp_lease_address(channel, 256));
	mp_destroy(channel);
	mp_destroy(NULL);
	CHECK_EQUAL(MP_ABI_VERSION, mp_abi_version());
}

static void refused(struct mp_config config)
{
	struct mp_channel *channel = (void *)&config;

	CHECK_EQUAL(-EINVAL, mp_create(&config, &channel));
	CHECK(!channel);
}

static void create_out_of_range_is_refused(void)
{
	struct mp_config config = rig_config(0);

	config.size--;
	refused(config);
	config.size = 4;
	refused(config);
	config = rig_config(1u << 7);
	refused(config);
	config = rig_config(0);
	config.queue_entries = 4097;
	refused(config);
	config = rig_config(0);
	config.max_handles = (1u << 20) + 1;
	refused(config);
	config = rig_config(0);
	config.buffer_count = 3;
	refused(config);
	config.buffer_count = 1u << 16;
	refused(config);
	config = rig_config(0);
	config.buffer_bytes = (1u << 20) + 1;
	refused(config);
	config = rig_config(0);
	config.busy_poll_us = 10001;
	refused(config);
	config = rig_config(0);
	config.cpu_plus_one = UINT32_MAX; /* -1 */
	refused(config);
}

/* As clone3(2) and openat2(2): what an older caller does not have is zero, what a newer one has beyond us must be. */
static void create_with_a_struct_of_another_age_works(void)
{
	struct {
		struct mp_config config;
		uint32_t newer[10];
	} larger = { .config = rig_config(MP_CONFIG_NO_LEASE) };
	struct mp_config smaller = rig_config(MP_CONFIG_NO_LEASE);
	struct mp_channel *channel;

	smaller.size = offsetof(struct mp_config, max_handles);
	smaller.busy_poll_us = 7; /* beyond its end */
	CHECK_EQUAL(0, mp_create(&smaller, &channel));
	CHECK(!mp_lease_address(channel, 0));
	mp_destroy(channel);
	larger.config.size = sizeof larger;
	CHECK_EQUAL(0, mp_create(&larger.config, &channel));
	mp_destroy(channel);
	larger.newer[9] = 1;
	CHECK_EQUAL(-E2BIG, mp_create(&larger.config, &channel));
	CHECK(!channel);
	larger.config.size = 1u << 20;
	CHECK_EQUAL(-E2BIG, mp_create(&larger.config, &channel));
}

static void create_with_zeroes_stands_for_no_cpu(void)
{
	struct mp_config config = { .size = sizeof config };
	int32_t fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	mp_handle listener;
	struct rig rig;

	CHECK_EQUAL(0, setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on));
	rig_open(&rig, &config);
	listener = mp_register(rig.channel, fd, 0, 1u << 5, 16); /* CPU 5's channel, and those of no CPU */
	CHECK(listener > 0);
	CHECK_EQUAL(0, mp_unregister(rig.channel, listener));
	rig_take(&rig, listener, MP_STAGE_CLOSE);
	rig_close(&rig);
	close(fd);
}

static void create_at_the_limits_works(void)
{
	struct mp_config config = { .size = sizeof config,
				    .queue_entries = 4096,
				    .max_handles = 1u << 20,
				    .buffer_count = 1u << 15,
				    .buffer_bytes = 64 };
	struct mp_config least = { .size = sizeof least,
				   .queue_entries = 1,
				   .max_handles = 1,
				   .buffer_count = 1,
				   .buffer_bytes = 1,
				   .batch_threshold = 1 };
	struct rig_link link;
	struct rig rig;
	int32_t fd;
	char text[3];

	rig_open(&rig, &config);
	rig_close(&rig);
	rig_open(&rig, &least);
	link = rig_pair(&rig, &fd);
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	send_all(link.peer, "abc", 3);
	rig_leased(&rig, link.handle, text, 3);
	CHECK(!memcmp(text, "abc", 3));
	CHECK_EQUAL(0, mp_read_pause(rig.channel, link.handle));
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, link.handle, MP_STAGE_READ).result);
	rig_unlink(&rig, &link, 0);
	rig_close(&rig);
}

static void create_at_fd_limit_gives_emfile(void)
{
	struct rlimit limit, low;
	struct mp_channel *channel;
	struct mp_features features = { .size = sizeof features };

	CHECK_EQUAL(0, getrlimit(RLIMIT_NOFILE, &limit));
	low = limit;
	low.rlim_cur = (rlim_t)dup(0);
	close((int)low.rlim_cur);
	CHECK_EQUAL(0, setrlimit(RLIMIT_NOFILE, &low));
	CHECK_EQUAL(-EMFILE, mp_create(NULL, &channel));
	CHECK(!channel);
	CHECK_EQUAL(-EMFILE, mp_probe(&features));
	CHECK(strlen(features.reason[MP_FEATURE_RING]) > 0);
	/* One more: the ring has its fd, the eventfd has none. */
	low.rlim_cur++;
	CHECK_EQUAL(0, setrlimit(RLIMIT_NOFILE, &low));
	{
		struct mp_config config = rig_config(MP_CONFIG_WAKE_EVENTFD);

		CHECK_EQUAL(-EMFILE, mp_create(&config, &channel));
	}
	CHECK_EQUAL(0, setrlimit(RLIMIT_NOFILE, &limit));
}

static void probe_on_this_kernel_allows_the_floor(void)
{
	struct mp_features features = { .size = sizeof features };

	CHECK_EQUAL(0, mp_probe(&features));
	for (uint32_t feature = 0; feature < MP_FEATURE_COUNT; feature++) {
		int available = features.available >> feature & 1;

		CHECK(mp_feature_name(feature));
		CHECK(available == !features.reason[feature][0]);
		CHECK(memchr(features.reason[feature], 0, MP_REASON_BYTES));
		if (!available)
			printf("  %s: %s\n", mp_feature_name(feature), features.reason[feature]);
	}
	for (uint32_t feature = MP_FEATURE_RING; feature <= MP_FEATURE_SINGLE_THREAD; feature++)
		CHECK(features.available >> feature & 1);
	CHECK(!mp_feature_name(MP_FEATURE_COUNT));
	features.size--;
	CHECK_EQUAL(-EINVAL, mp_probe(&features));
	features.size = 4;
	CHECK_EQUAL(-EINVAL, mp_probe(&features));
}

static void probe_into_a_struct_of_another_age_writes_what_fits(void)
{
	struct {
		struct mp_features features;
		uint32_t newer[10];
	} answer;

	memset(&answer, 0x11, sizeof answer);
	answer.features.size = offsetof(struct mp_features, reason) + 2 * MP_REASON_BYTES;
	CHECK_EQUAL(0, mp_probe(&answer.features));
	CHECK_EQUAL(0, answer.features.reason[1][MP_REASON_BYTES - 1]);
	CHECK_EQUAL(0x11, answer.features.reason[2][0]);
	answer.features.size = sizeof answer;
	CHECK_EQUAL(0, mp_probe(&answer.features));
	CHECK_EQUAL(0, answer.newer[0] | answer.newer[9]);
	CHECK(answer.features.available & 1);
}

static void error_texts_are_never_null(void)
{
	CHECK(strlen(mp_error_text(MP_ERROR_DENIED)) > 0);
	CHECK(strlen(mp_error_text(MP_ERROR_TOO_OLD)) > 0);
	CHECK(strstr(mp_error_text(-ENFILE), "files"));
	CHECK(!strcmp("success", mp_error_text(0)));
	CHECK(strlen(mp_error_text(-99999)) > 0);
	CHECK(strlen(mp_error_text(INT32_MIN)) > 0);
}

static void denied_already(int32_t expected, const char *word)
{
	struct mp_features features = { .size = sizeof features };
	struct mp_channel *channel;

	CHECK_EQUAL(expected, mp_probe(&features));
	CHECK_EQUAL(0, features.available);
	CHECK(strstr(features.reason[MP_FEATURE_RING], word));
	for (uint32_t feature = 1; feature < MP_FEATURE_COUNT; feature++)
		CHECK(strlen(features.reason[feature]) > 0);
	CHECK_EQUAL(expected, mp_create(NULL, &channel));
	CHECK(!channel);
}

static void denied_with(uint16_t error, int32_t expected, const char *word)
{
	deny_call(__NR_io_uring_setup, error);
	denied_already(expected, word);
}

static void in_child_not_permitted(void)
{
	denied_with(EPERM, MP_ERROR_DENIED, "refused");
}

static void in_child_no_access(void)
{
	denied_with(EACCES, MP_ERROR_DENIED, "refused");
}

/* The kernel has io_uring, or this test could not run: it is the filter. */
static void in_child_not_there(void)
{
	denied_with(ENOSYS, MP_ERROR_DENIED, "seccomp");
}

static void hide_files(void)
{
	deny_call(__NR_openat, ENOENT);
#ifdef __NR_open /* what musl opens with, where there is one */
	deny_call(__NR_open, ENOENT);
#endif
}

/* Kernels before 6.6 have no setting that gives them away: seen from a process that cannot read it. */
static void in_child_perhaps_not_there(void)
{
	hide_files();
	denied_with(ENOSYS, MP_ERROR_DENIED,
		    "a seccomp profile hides it (allow io_uring_setup, _enter and _register), or the kernel");
}

/* And no filter either, as far as the process can tell. */
static void in_child_truly_not_there(void)
{
	hide_files();
	deny_call(__NR_io_uring_setup, ENOSYS);
	deny_call(__NR_prctl, EINVAL);
	denied_already(MP_ERROR_TOO_OLD, "6.1");
}

static void in_child_flags_unknown(void)
{
	denied_with(EINVAL, MP_ERROR_TOO_OLD, "6.1");
}

static void in_child_no_memory(void)
{
	denied_with(ENOMEM, -ENOMEM, "memory");
}

/* One of the other two calls: named, and the probe agrees with mp_create. */
static void denied_call(long number, uint16_t error, const char *name)
{
	struct mp_features features = { .size = sizeof features };
	struct mp_channel *channel;

	deny_call(number, error);
	CHECK_EQUAL(MP_ERROR_DENIED, mp_probe(&features));
	CHECK_EQUAL(0, features.available);
	CHECK(strstr(features.reason[MP_FEATURE_RING], name));
	CHECK(strstr(features.reason[MP_FEATURE_RING], "seccomp"));
	CHECK(strstr(features.reason[MP_FEATURE_RING], "Allow io_uring_setup, _enter and _register."));
	CHECK_EQUAL(MP_ERROR_DENIED, mp_create(NULL, &channel));
	CHECK(!channel);
}

static void in_child_no_enter(void)
{
	denied_call(__NR_io_uring_enter, EPERM, "io_uring_enter was refused");
}

static void in_child_hidden_enter(void)
{
	denied_call(__NR_io_uring_enter, ENOSYS, "io_uring_enter is hidden");
}

static void in_child_no_register(void)
{
	denied_call(__NR_io_uring_register, EPERM, "io_uring_register was refused");
}

static void in_child_hidden_register(void)
{
	denied_call(__NR_io_uring_register, ENOSYS, "io_uring_register is hidden");
}

/* An ordinary user whose locked memory suffices for a ring and not for its buffers, then not even for the ring. What
 * was refused half-way is given back a little later, so the first may end like the second. */
static void in_child_little_locked_memory(void)
{
	CHECK(geteuid() || (!setgid(65534) && !setuid(65534)));
	for (uint32_t kib = 8; kib <= 8; kib -= 8) {
		struct rlimit limit = { kib * 1024, kib * 1024 };
		struct mp_features features = { .size = sizeof features };
		struct mp_channel *channel;

		CHECK_EQUAL(0, setrlimit(RLIMIT_MEMLOCK, &limit));
		CHECK_EQUAL(MP_ERROR_LOCKED_MEMORY, mp_probe(&features));
		CHECK(strstr(features.reason[MP_FEATURE_RING], "failed: no memory. RLIMIT_MEMLOCK ("));
		CHECK_EQUAL(MP_ERROR_LOCKED_MEMORY, mp_create(NULL, &channel));
		CHECK(strstr(mp_error_text(MP_ERROR_LOCKED_MEMORY), "RLIMIT_MEMLOCK"));
	}
}

static void in_child_without_locked_memory(void)
{
	struct rlimit none = { 0, 0 };
	struct mp_channel *channel;

	CHECK(geteuid() || (!setgid(65534) && !setuid(65534)));
	CHECK_EQUAL(0, setrlimit(RLIMIT_MEMLOCK, &none));
	_exit(mp_create(NULL, &channel) == 0);
}

static void probe_and_create_without_locked_memory_say_why(void)
{
	/* From 5.12 to about 6.13 rings were not counted. */
	if (run_in_child(in_child_without_locked_memory, 0)) {
		skip("this kernel does not count rings as locked memory");
		return;
	}
	CHECK_EQUAL(0, run_in_child(in_child_little_locked_memory, 0));
}

static void probe_and_create_under_seccomp_say_why(void)
{
	void (*const bodies[])(void) = { in_child_not_permitted,     in_child_no_access,       in_child_not_there,
					 in_child_perhaps_not_there, in_child_truly_not_there, in_child_flags_unknown,
					 in_child_no_memory,         in_child_no_enter,        in_child_hidden_enter,
					 in_child_no_register,       in_child_hidden_register };

	for (uint32_t i = 0; i < COUNT_OF(bodies); i++)
		CHECK_EQUAL(0, run_in_child(bodies[i], 0));
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(create_with_defaults_works),
		TEST(create_out_of_range_is_refused),
		TEST(create_with_a_struct_of_another_age_works),
		TEST(create_with_zeroes_stands_for_no_cpu),
		TEST(create_at_the_limits_works),
		TEST(create_at_fd_limit_gives_emfile),
		TEST(probe_on_this_kernel_allows_the_floor),
		TEST(probe_into_a_struct_of_another_age_writes_what_fits),
		TEST(error_texts_are_never_null),
		TEST(probe_and_create_without_locked_memory_say_why),
		TEST(probe_and_create_under_seccomp_say_why),
	};

	return RUN_TESTS(tests, argc, argv);
}
