/* Whatever descriptors the library makes, a program that this process starts does not get them. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

#include "common_rig.h"

/* Checks every fd of the process but the standard ones. The test's own are closed on exec, too. */
static uint32_t closed_on_exec(void)
{
	DIR *directory = opendir("/proc/self/fd");
	uint32_t count = 0;

	CHECK(directory);
	for (const struct dirent *entry; (entry = readdir(directory));) {
		int fd = atoi(entry->d_name);

		if (fd <= STDERR_FILENO)
			continue;
		CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		count++;
	}
	closedir(directory);
	return count;
}

/* What whoever started the test left open is not to be judged. */
static void mark_the_inherited(void)
{
	for (int fd = STDERR_FILENO + 1; fd < 256; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static void every_descriptor_is_closed_on_exec(void)
{
	struct rig_listener listener, partitioned;
	struct rig_link accepted, lwsocket, connected = { .peer = -1 };
	struct sockaddr_storage address;
	mp_handle partition;
	struct rig rig;
	socklen_t bytes;
	int32_t bound = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), target, copies[2], on = 1;

	mark_the_inherited();
	rig_open(&rig, NULL);
	CHECK_EQUAL(0, setsockopt(bound, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on));
	partition = mp_register(rig.channel, bound, 0, 1, 16);
	CHECK(partition > 0);
	listener = rig_listen(&rig, AF_INET, 0);
	accepted = rig_connect(&rig, &listener, 0);
	lwsocket = rig_connect(&rig, &listener, MP_ACCEPT_LWSOCKET);
	target = listen_fd(AF_INET, 0, &address, &bytes);
	connected.handle = mp_connect(rig.channel, &address, bytes, 0, 0);
	CHECK_EQUAL(0, rig_take(&rig, connected.handle, MP_STAGE_ACCEPT).result);
	copies[0] = mp_to_fd(rig.channel, accepted.handle);
	copies[1] = mp_to_fd(rig.channel, lwsocket.handle);
	CHECK(closed_on_exec() >= 10);
	for (uint32_t i = 0; i < 2; i++)
		if (copies[i] >= 0) /* before 6.8 there is none of a lightweight socket */
			close(copies[i]);
	partitioned = (struct rig_listener){ .handle = partition, .fd = bound };
	rig_unlink(&rig, &connected, 0);
	rig_unlink(&rig, &accepted, 0);
	rig_unlink(&rig, &lwsocket, 0);
	rig_unlisten(&rig, &listener);
	rig_unlisten(&rig, &partitioned);
	close(target);
	rig_close(&rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = { TEST(every_descriptor_is_closed_on_exec) };

	return RUN_TESTS(tests, argc, argv);
}
