/* What the benchmark programs share: time, CPU time, numbers from the command line, one-line errors. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <stdbool.h>
#include <stdint.h>

#define NS_PER_SECOND 1000000000ull

/* Monotonic time. */
uint64_t now_ns(void);

/* User and system time of this process so far, in seconds. */
double cpu_seconds(void);

/* Prints "program: text" to stderr and ends the process with 2, the exit status of a usage or set-up error. */
__attribute__((format(printf, 1, 2), noreturn)) void fail(const char *format, ...);

/* The number that `text` spells, in [least, most]; otherwise fails, naming `option`. */
uint64_t parse_integer(const char *option, const char *text, uint64_t least, uint64_t most);
double parse_real(const char *option, const char *text, double least, double most);
/* "on" or "off". */
bool parse_switch(const char *option, const char *text);
/* Index of `text` in `names` (which end with NULL); otherwise fails, listing them. */
uint32_t parse_choice(const char *option, const char *text, const char *const *names);

/* calloc that fails instead of returning NULL. */
void *allocate(uint64_t count, uint64_t bytes);

/* Lets the process open as many files as the hard limit allows; the limit. */
uint64_t raise_file_limit(void);

/* The number of the `index`-th CPU that this process may use; fails when there are fewer. */
uint32_t usable_cpu(uint32_t index);
/* Binds the calling thread to one CPU. */
void pin_to_cpu(uint32_t cpu);

#endif
