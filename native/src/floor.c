/* Finds out why the kernel refuses io_uring. Only asked after an error, so it may look around. */
#define _GNU_SOURCE
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "megapipe.h"

/* The beginning of a small file as text; "" when it cannot be read. */
static void read_text(const char *path, char *text, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = -1;

	if (fd >= 0) {
		got = read(fd, text, room - 1);
		close(fd);
	}
	text[got < 0 ? 0 : got] = '\0';
}

int32_t mp_floor_disabled(void)
{
	char text[8];

	read_text("/proc/sys/kernel/io_uring_disabled", text, sizeof text);
	return text[0] >= '0' && text[0] <= '2' ? text[0] - '0' : -1;
}

int32_t mp_floor_hidden(void)
{
	/* The setting (6.6) is there only where io_uring is. */
	if (mp_floor_disabled() >= 0)
		return MP_HIDDEN;
	return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == SECCOMP_MODE_FILTER ? MP_PERHAPS_HIDDEN : MP_NOT_HIDDEN;
}

/* Whether the limit does not count: CAP_IPC_LOCK of the first user namespace; root of a container has none. */
static bool may_lock(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	char map[64], first[3][16] = { "", "", "" };
	uint32_t word = 0, at = 0;

	memset(data, 0, sizeof data);
	if (syscall(SYS_capget, &header, data) || !(data[0].effective & 1u << CAP_IPC_LOCK))
		return false;
	read_text("/proc/self/uid_map", map, sizeof map);
	/* The first line: where the namespace begins inside and outside, and how many it has. */
	for (const char *from = map; *from && *from != '\n' && word < 3; from++) {
		if (*from != ' ' && at + 1 < sizeof first[0]) {
			first[word][at++] = *from;
		} else if (at) {
			word++;
			at = 0;
		}
	}
	return !strcmp(first[0], "0") && !strcmp(first[1], "0") && !strcmp(first[2], "4294967295");
}

int64_t mp_floor_locked_kib(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) || limit.rlim_cur == RLIM_INFINITY || may_lock())
		return -1;
	return (int64_t)(limit.rlim_cur / 1024);
}

int32_t mp_floor_error(int32_t error, bool setup)
{
	switch (error) {
	case -ENOSYS:
		/* Where io_uring_setup works, the kernel has the other two. */
		return setup && mp_floor_hidden() == MP_NOT_HIDDEN ? MP_ERROR_TOO_OLD : MP_ERROR_DENIED;
	case -EINVAL:
		return MP_ERROR_TOO_OLD;
	case -EPERM:
	case -EACCES:
		return MP_ERROR_DENIED;
	case -ENOMEM:
		return mp_floor_locked_kib() >= 0 ? MP_ERROR_LOCKED_MEMORY : error;
	default:
		return error;
	}
}
