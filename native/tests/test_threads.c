/* How many more threads there may be: as many as the kernel then starts, and gives back when they end. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common_test.h"
#include "megapipe.h"

enum { MOST = 64, FIRST_USER = 54400, USERS = 8192 };

/* Nobody else's user: the limit counts all threads of one, and does not hold for root. */
static void limit_user(rlim_t threads)
{
	struct rlimit limit = { threads, threads };
	uid_t user = FIRST_USER + (uid_t)getpid() % USERS;

	CHECK_EQUAL(0, setrlimit(RLIMIT_NPROC, &limit));
	if (getuid() == 0)
		CHECK_EQUAL(0, setresuid(user, user, user));
}

/* Processes count as threads do. Not fork(): a sanitizer adds threads of its own to what it sees. */
static void count_what_starts(void)
{
	int32_t room, started = 0;
	pid_t children[MOST];

	limit_user(24);
	room = mp_thread_room(MOST);
	CHECK(room > 0);
	CHECK_EQUAL(room < 5 ? room : 5, mp_thread_room(5));
	while (started < MOST && (children[started] = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)) >= 0) {
		if (!children[started]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
		started++;
		CHECK_EQUAL(room - started, mp_thread_room(MOST));
	}
	while (started > 0) {
		CHECK_EQUAL(0, kill(children[--started], SIGKILL));
		CHECK_EQUAL(children[started], waitpid(children[started], NULL, 0));
		CHECK_EQUAL(room - started, mp_thread_room(MOST));
	}
}

static void user_limit_leaves_what_the_kernel_then_starts(void)
{
	if (getuid() != 0)
		skip("another user's threads would be counted, too");
	else
		CHECK_EQUAL(0, run_in_child(count_what_starts, 0));
}

/* No child is left, and the limit and the mask are what they were. */
static void ask_many_times(void)
{
	struct rlimit before, after;
	sigset_t mask;

	limit_user(200);
	CHECK_EQUAL(0, getrlimit(RLIMIT_NPROC, &before));
	for (int i = 0; i < 100; i++)
		CHECK(mp_thread_room(500) > 100);
	CHECK_EQUAL(0, getrlimit(RLIMIT_NPROC, &after));
	CHECK_EQUAL(before.rlim_cur, after.rlim_cur);
	CHECK_EQUAL(0, sigprocmask(SIG_SETMASK, NULL, &mask));
	CHECK_EQUAL(0, sigismember(&mask, SIGTERM));
	CHECK_EQUAL(-1, waitpid(-1, NULL, WNOHANG | __WALL));
	CHECK_EQUAL(ECHILD, errno);
}

static void asking_leaves_nothing_behind(void)
{
	if (getuid() != 0)
		skip("another user's threads would be counted, too");
	else
		CHECK_EQUAL(0, run_in_child(ask_many_times, 0));
}

static void without_a_limit_there_is_room_for_all(void)
{
	CHECK_EQUAL(1, mp_thread_room(1));
	CHECK_EQUAL(0, mp_thread_room(0));
	CHECK(mp_thread_room(UINT32_MAX) > MOST);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(user_limit_leaves_what_the_kernel_then_starts),
		TEST(asking_leaves_nothing_behind),
		TEST(without_a_limit_there_is_room_for_all),
	};

	return RUN_TESTS(tests, argc, argv);
}
