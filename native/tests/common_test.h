/* What every test program stands on: checks that say where they failed, and a runner that gives each test a time limit
 * and looks for file descriptors left behind. */
#ifndef MP_COMMON_TEST_H
#define MP_COMMON_TEST_H

#include <stdint.h>

struct test {
	const char *name;
	void (*run)(void);
};

/* clang-format off: it takes the braces for a block */
#define TEST(name) \
	{ \
#name, name \
	}
/* clang-format on */
#define COUNT_OF(array) ((uint32_t)(sizeof(array) / sizeof *(array)))

#define CHECK(rule) ((rule) ? (void)0 : check_failed(#rule, __FILE__, __LINE__))
#define CHECK_EQUAL(expected, actual) check_equal((int64_t)(expected), (int64_t)(actual), #actual, __FILE__, __LINE__)

_Noreturn void check_failed(const char *rule, const char *file, int line);
void check_equal(int64_t expected, int64_t actual, const char *what, const char *file, int line);

/* Runs every test, or those named by the arguments. The program's exit status. */
int run_tests(const struct test *tests, uint32_t count, int argc, char **argv);
#define RUN_TESTS(tests, argc, argv) run_tests(tests, COUNT_OF(tests), argc, argv)

/* Says why a test does nothing here, and counts it. */
void skip(const char *reason);

/* Open file descriptors of this process. */
int32_t fd_count(void);

int64_t now_ns(void);

/* Runs `body` in a child process; the child's wait status (waitpid). The child's stderr is dropped when `quiet`. */
int run_in_child(void (*body)(void), int quiet);
/* Whether `body` ends the process by MP_ASSERT. */
int aborts(void (*body)(void));

/* From now on the system call fails with `error`, for the calling thread and those that it starts. */
void deny_call(long number, uint16_t error);

/* xorshift64*: the same numbers for the same seed everywhere. */
uint64_t random_next(uint64_t *state);
/* 0 to limit - 1. */
uint32_t random_below(uint64_t *state, uint32_t limit);

#endif
