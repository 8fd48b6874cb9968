/* The setting of the kernel (kernel.io_uring_disabled, 6.6): what a process may and what the message says for each
 * value, with and without the group, and that a channel which exists goes on. It changes the setting, which is the
 * whole system's: tests/kernels/run runs it in the booted kernel only. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "megapipe.h"

#define DISABLED "/proc/sys/kernel/io_uring_disabled"
#define GROUP "/proc/sys/kernel/io_uring_group"
#define GROUP_ID 955
#define NOBODY 65534

static int set(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), good;

	good = fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value);
	if (fd >= 0)
		close(fd);
	return good;
}

/* In a process of an ordinary user, in the group or not: 0 when mp_probe gives `expected` and its reason has `word`. */
static int ordinary(int in_group, int32_t expected, const char *word)
{
	gid_t group = GROUP_ID;
	pid_t child = fork();
	int status = -1;

	if (child == 0) {
		struct mp_features features = { .size = sizeof features };
		int32_t got;

		if (setgroups(in_group ? 1 : 0, &group) || setgid(NOBODY) || setuid(NOBODY))
			_exit(3);
		got = mp_probe(&features);
		printf("  group: %d, result %d: %s\n", in_group, got, features.reason[MP_FEATURE_RING]);
		fflush(stdout);
		_exit(got != expected || !strstr(features.reason[MP_FEATURE_RING], word));
	}
	waitpid(child, &status, 0);
	return status;
}

int main(void)
{
	struct mp_channel *channel;
	struct mp_event event;
	int bad = 0;

	if (access(DISABLED, W_OK)) {
		printf("  skipped: this kernel has no %s\n  0 passed, 1 skipped\n", DISABLED);
		return 0;
	}
	if (mp_create(NULL, &channel))
		return 2;
	bad |= !set(DISABLED, "1") || !set(GROUP, "955");
	bad |= ordinary(1, 0, "");
	bad |= ordinary(0, MP_ERROR_DENIED,
			"kernel.io_uring_disabled is 1. Set it to 0, or run with the group in kernel.io_uring_group.");
	bad |= !set(DISABLED, "2");
	bad |= ordinary(1, MP_ERROR_DENIED, "kernel.io_uring_disabled is 2. Set it to 0.");
	mp_wake(channel);
	bad |= mp_dispatch(channel, &event, 1, -1) != 0; /* the ring that exists goes on */
	mp_destroy(channel);
	bad |= !set(DISABLED, "0");
	bad |= ordinary(0, 0, "");
	printf(bad ? "  failed\n" : "  1 passed, 0 skipped\n");
	return bad != 0;
}
