/* The system calls that do not go through the ring. */
#define _GNU_SOURCE
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "os_options.h"

static int32_t option(int32_t fd, int32_t name)
{
	int value = 0;
	socklen_t bytes = sizeof value;

	return getsockopt(fd, SOL_SOCKET, name, &value, &bytes) ? -errno : value;
}

int32_t mp_os_describe(int32_t fd, struct mp_os_fd *what)
{
	int32_t type = option(fd, SO_TYPE), domain;

	/* Asked without fstat, which glibc has as a function since 2.33 only. */
	memset(what, 0, sizeof *what);
	if (type == -ENOTSOCK) {
		what->pipe = fcntl(fd, F_GETPIPE_SZ) >= 0;
		return 0;
	}
	if (type < 0)
		return type;
	what->socket = true;
	what->stream = type == SOCK_STREAM;
	what->listening = option(fd, SO_ACCEPTCONN) == 1;
	domain = option(fd, SO_DOMAIN);
	what->inet = domain == AF_INET || domain == AF_INET6;
	what->reuseport = option(fd, SO_REUSEPORT) == 1;
	return 0;
}

int32_t mp_os_partition(int32_t fd, int32_t cpu, int32_t backlog)
{
	struct sockaddr_storage address;
	socklen_t bytes = sizeof address;
	int32_t domain = option(fd, SO_DOMAIN), protocol = option(fd, SO_PROTOCOL), listener, error;
	int on = 1;

	if (getsockname(fd, (struct sockaddr *)&address, &bytes))
		return -errno;
	if (domain < 0 || protocol < 0)
		return domain < 0 ? domain : protocol;
	listener = socket(domain, SOCK_STREAM | SOCK_CLOEXEC, protocol); /* MPTCP stays MPTCP */
	if (listener < 0)
		return -errno;
	if (setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on)) {
		error = -errno;
		goto close_listener;
	}
	error = mp_os_copy_options(fd, listener);
	if (error)
		goto close_listener;
	if (bind(listener, (struct sockaddr *)&address, bytes)) {
		error = -errno;
		goto close_listener;
	}
	if (cpu >= 0)
		(void)setsockopt(listener, SOL_SOCKET, SO_INCOMING_CPU, &cpu, sizeof cpu);
	if (listen(listener, backlog)) {
		error = -errno;
		goto close_listener;
	}
	return listener;

close_listener:
	close(listener);
	return error;
}

int32_t mp_os_socket(int32_t family, bool nonblocking)
{
	int32_t fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);

	return fd < 0 ? -errno : fd;
}

void mp_os_set_blocking(int32_t fd)
{
	int32_t flags = fcntl(fd, F_GETFL);

	(void)fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

int32_t mp_os_eventfd(void)
{
	int32_t fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

int32_t mp_os_notify(int32_t eventfd)
{
	uint64_t one = 1;

	return write(eventfd, &one, sizeof one) == sizeof one ? 0 : -errno;
}

void mp_os_close(int32_t fd)
{
	close(fd);
}

int32_t mp_os_duplicate(int32_t fd)
{
	int32_t copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return copy < 0 ? -errno : copy;
}

int32_t mp_os_name(int32_t fd, bool peer, void *address, uint32_t capacity)
{
	struct sockaddr_storage name;
	socklen_t bytes = sizeof name;

	if (peer ? getpeername(fd, (struct sockaddr *)&name, &bytes) :
		   getsockname(fd, (struct sockaddr *)&name, &bytes))
		return -errno;
	if (bytes > sizeof name)
		bytes = sizeof name;
	memcpy(address, &name, bytes < capacity ? bytes : capacity);
	return (int32_t)bytes;
}

int32_t mp_os_set_option(int32_t fd, int32_t level, int32_t name, const void *value, uint32_t bytes)
{
	return setsockopt(fd, level, name, value, bytes) ? -errno : 0;
}

uint32_t mp_os_fd_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur > 1u << 20)
		return 1u << 20;
	return (uint32_t)limit.rlim_cur;
}

static int64_t read_clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t mp_os_now_ns(void)
{
	return read_clock_ns(CLOCK_MONOTONIC);
}

int64_t mp_os_coarse_ns(void)
{
	return read_clock_ns(CLOCK_MONOTONIC_COARSE);
}

void mp_os_yield(void)
{
	sched_yield();
}

int32_t mp_os_thread_times(uint64_t *cpu_ns, uint64_t *waits)
{
	struct timespec cpu;
	struct rusage usage;

	if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu) || getrusage(RUSAGE_THREAD, &usage))
		return -errno;
	*cpu_ns = (uint64_t)cpu.tv_sec * 1000000000 + (uint64_t)cpu.tv_nsec;
	*waits = (uint64_t)usage.ru_nvcsw;
	return 0;
}
