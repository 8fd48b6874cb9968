/* How many threads the system still gives this process. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os.h"

/* For a few calls of the kernel with every signal blocked, and what a sanitizer puts between them. */
#define STACK_BYTES 16384

/* A child with the caller's memory and descriptors, while the caller waits: nothing is copied, and it ends without a
 * signal. It is a process all the same: its limits are its own. */
#define CHILD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_VFORK)

struct question {
	struct rlimit limit;
	uint32_t most;
	int32_t room;
	_Alignas(16) char child_stack[STACK_BYTES];
	_Alignas(16) char grandchild_stack[STACK_BYTES];
};

/* 0 when there was a child, which has ended; or -errno. */
static int32_t run_child(int (*body)(void *), void *argument, char *stack)
{
	pid_t child = clone(body, stack + STACK_BYTES, CHILD_FLAGS, argument);

	if (child < 0)
		return -errno;
	while (waitpid(child, NULL, __WALL) < 0 && errno == EINTR)
		;
	return 0;
}

static int end_at_once(void *unused)
{
	(void)unused;
	return 0;
}

/* Whether there is room for `count`. 1, 0 or -errno. A child that lowered its own limit by so many would have to be
 * refused another process; it is counted, and so is that one. */
static int32_t has_room(struct question *question, uint32_t count)
{
	struct rlimit lowered = question->limit;

	if (lowered.rlim_cur < count)
		return 0;
	lowered.rlim_cur = lowered.rlim_cur - count + 2;
	if (setrlimit(RLIMIT_NPROC, &lowered))
		return -errno;
	return !run_child(end_at_once, NULL, question->grandchild_stack);
}

/* In a child: that it was started tells of one. The first try is for all, which most callers get. */
static int search(void *argument)
{
	struct question *question = argument;
	int32_t low = 1, high = (int32_t)question->most, count = high, found;

	while (low < high) {
		found = has_room(question, (uint32_t)count);
		if (found < 0) {
			question->room = found;
			return 0;
		}
		if (found)
			low = count;
		else
			high = count - 1;
		count = low + (high - low + 1) / 2;
	}
	question->room = low;
	return 0;
}

/* At most `most` threads that the limit of this process's user leaves. `all`: of all users, or negative. */
static int32_t ask_kernel(uint32_t most, int64_t all)
{
	struct question question = { .most = most };
	sigset_t blocked, before;
	int32_t error;

	if (getrlimit(RLIMIT_NPROC, &question.limit))
		return -errno;
	/* No user has more threads than all have: usual limits are far away, and need no child. */
	if (question.limit.rlim_cur == RLIM_INFINITY || (all >= 0 && question.limit.rlim_cur > (rlim_t)all + most))
		return (int32_t)most;
	memset(&blocked, 0xFF, sizeof blocked);
	if (sigprocmask(SIG_SETMASK, &blocked, &before))
		return -errno;
	error = run_child(search, &question, question.child_stack);
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (error == -EAGAIN)
		return 0;
	return error ? error : question.room;
}

/* The number at the beginning of a file; with `mark`, the one behind its last mark. Negative: there is none. */
static int64_t read_number(const char *path, char mark)
{
	char line[128];
	const char *digit = line;
	int64_t number = -1;
	ssize_t bytes;
	int32_t fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	bytes = read(fd, line, sizeof line - 1);
	close(fd);
	line[bytes < 0 ? 0 : bytes] = 0;
	for (const char *at = line; mark && *at; at++)
		if (*at == mark)
			digit = at + 1;
	for (; *digit >= '0' && *digit <= '9'; digit++)
		number = (number < 0 ? 0 : number) * 10 + (*digit - '0');
	return number;
}

int32_t mp_os_thread_room(uint32_t most)
{
	static const char *const limits[] = { "/proc/sys/kernel/threads-max", "/proc/sys/kernel/pid_max" };
	/* "0.31 0.28 0.25 2/345 6789": the whole system has 345. */
	int64_t all = read_number("/proc/loadavg", '/'), limit;

	if (most > INT32_MAX)
		most = INT32_MAX;
	for (uint32_t i = 0; all >= 0 && i < sizeof limits / sizeof *limits; i++) {
		limit = read_number(limits[i], 0);
		if (limit >= 0 && limit - all < most)
			most = limit > all ? (uint32_t)(limit - all) : 0;
	}
	return most ? ask_kernel(most, all) : 0;
}
