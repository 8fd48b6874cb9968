/* The test runner and its checks. */
#define _GNU_SOURCE
#include "common_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A test that hangs is a failure with a name, long before the Makefile's limit for the whole program. An emulated
 * machine (tests/kernels) sets more, as the environment variable of this name. */
#define TEST_LIMIT_S 40u

static const char *running = "no test";
static uint32_t skipped;

_Noreturn void check_failed(const char *rule, const char *file, int line)
{
	fprintf(stderr, "%s: %s is false (%s:%d)\n", running, rule, file, line);
	fflush(stderr);
	_exit(1);
}

void check_equal(int64_t expected, int64_t actual, const char *what, const char *file, int line)
{
	if (expected == actual)
		return;
	fprintf(stderr, "%s: %s is %lld, not %lld (%s:%d)\n", running, what, (long long)actual, (long long)expected,
		file, line);
	fflush(stderr);
	_exit(1);
}

static void too_long(int number)
{
	static const char text[] = ": ran past its time limit\n";

	(void)number;
	if (write(STDERR_FILENO, running, strlen(running)) < 0 || write(STDERR_FILENO, text, sizeof text - 1) < 0)
		_exit(3);
	_exit(2);
}

static uint32_t limit_s(void)
{
	const char *given = getenv("TEST_LIMIT_S");

	return given ? (uint32_t)strtoul(given, NULL, 10) : TEST_LIMIT_S;
}

void skip(const char *reason)
{
	printf("  skipped %s: %s\n", running, reason);
	skipped++;
}

int32_t fd_count(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int32_t count = 0;

	CHECK(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count - 3; /* ".", ".." and the directory itself */
}

int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int wanted(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			return 1;
	return argc < 2;
}

int run_tests(const struct test *tests, uint32_t count, int argc, char **argv)
{
	uint32_t passed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGALRM, too_long);
	for (uint32_t i = 0; i < count; i++) {
		int32_t before = fd_count();

		if (!wanted(tests[i].name, argc, argv))
			continue;
		running = tests[i].name;
		alarm(limit_s());
		tests[i].run();
		alarm(0);
		CHECK_EQUAL(before, fd_count());
		passed++;
	}
	printf("  %u passed, %u skipped\n", passed - skipped, skipped);
	return passed == 0;
}

int run_in_child(void (*body)(void), int quiet)
{
	int status;
	pid_t child;

	fflush(stdout);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		int nowhere = quiet ? open("/dev/null", O_WRONLY | O_CLOEXEC) : -1;

		alarm(limit_s());
		if (nowhere >= 0)
			dup2(nowhere, STDERR_FILENO);
		body();
		_exit(0);
	}
	CHECK_EQUAL(child, waitpid(child, &status, 0));
	return status;
}

int aborts(void (*body)(void))
{
	int status = run_in_child(body, 1);

	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

uint64_t random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 2685821657736338717u;
}

uint32_t random_below(uint64_t *state, uint32_t limit)
{
	return (uint32_t)((random_next(state) >> 32) * limit >> 32);
}
