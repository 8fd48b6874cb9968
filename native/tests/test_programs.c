/* The examples as programs: a request for help, or one that cannot be understood, ends at once with the usage. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common_test.h"

#define PROGRAM_LIMIT_S 20u

/* Exit status of an example with one argument; its output is dropped. The limit ends one that does not end. */
static int exit_status(const char *name, char *argument)
{
	char path[1024], *slash;
	pid_t child;
	int status;

	memset(path, 0, sizeof path);
	CHECK(readlink("/proc/self/exe", path, sizeof path - 64) > 0);
	for (int level = 0; level < 2; level++) {
		slash = strrchr(path, '/');
		CHECK(slash);
		*slash = 0;
	}
	(void)snprintf(path + strlen(path), 64, "/examples/%s", name);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		char *arguments[] = { path, argument, NULL };
		int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);

		dup2(nowhere, STDOUT_FILENO);
		dup2(nowhere, STDERR_FILENO);
		alarm(PROGRAM_LIMIT_S);
		execv(path, arguments);
		_exit(127);
	}
	CHECK_EQUAL(child, waitpid(child, &status, 0));
	CHECK(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void examples_asked_for_help_or_nonsense_end_with_the_usage(void)
{
	static const char *const names[] = { "mp-http", "echo", "epoll-http" };
	char help[] = "--help", nonsense[] = "--no-such-option";

	CHECK_EQUAL(0, exit_status("mp-http", help));
	for (uint32_t i = 0; i < COUNT_OF(names); i++)
		CHECK_EQUAL(2, exit_status(names[i], nonsense));
}

int main(int argc, char **argv)
{
	static const struct test tests[] = { TEST(examples_asked_for_help_or_nonsense_end_with_the_usage) };

	return RUN_TESTS(tests, argc, argv);
}
