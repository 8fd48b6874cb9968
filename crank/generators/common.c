/* What the benchmark programs share: see common.h. */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

uint64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * NS_PER_SECOND + (uint64_t)time.tv_nsec;
}

double cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void fail(const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(2);
}

uint64_t parse_integer(const char *option, const char *text, uint64_t least, uint64_t most)
{
	char *end = NULL;

	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value < least || value > most)
		fail("%s is '%s', but must be a whole number from %llu to %llu", option, text,
		     (unsigned long long)least, (unsigned long long)most);
	return value;
}

double parse_real(const char *option, const char *text, double least, double most)
{
	char *end = NULL;
	double value = strtod(text, &end);

	if (end == text || *end != '\0' || !(value >= least && value <= most))
		fail("%s is '%s', but must be a number from %g to %g", option, text, least, most);
	return value;
}

bool parse_switch(const char *option, const char *text)
{
	static const char *const names[] = { "off", "on", NULL };

	return parse_choice(option, text, names) == 1;
}

uint32_t parse_choice(const char *option, const char *text, const char *const *names)
{
	char list[256] = "";

	for (uint32_t i = 0; names[i] != NULL; i++) {
		if (strcmp(text, names[i]) == 0)
			return i;
		if (i > 0)
			strncat(list, ", ", sizeof(list) - strlen(list) - 1);
		strncat(list, names[i], sizeof(list) - strlen(list) - 1);
	}
	fail("%s is '%s', but must be one of: %s", option, text, list);
}

void *allocate(uint64_t count, uint64_t bytes)
{
	void *memory = calloc(count > 0 ? count : 1, bytes);

	if (memory == NULL)
		fail("out of memory (%llu x %llu bytes)", (unsigned long long)count, (unsigned long long)bytes);
	return memory;
}

uint64_t raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		fail("getrlimit: %s", strerror(errno));
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit); /* the old soft limit stays if this is refused, and is what we report */
	getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur;
}

uint32_t usable_cpu(uint32_t index)
{
	cpu_set_t allowed;
	uint32_t seen = 0;

	if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
		fail("sched_getaffinity: %s", strerror(errno));
	for (uint32_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed) && seen++ == index)
			return cpu;
	fail("this process may use %u CPUs, fewer than asked for", seen);
}

void pin_to_cpu(uint32_t cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (sched_setaffinity(0, sizeof(one), &one) != 0)
		fail("cannot run on CPU %u: %s", cpu, strerror(errno));
}
