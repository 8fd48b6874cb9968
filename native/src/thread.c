/* What the kernel counts of the calling thread. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/resource.h>
#include <time.h>

#include "megapipe.h"

int32_t mp_thread_times(uint64_t *cpu_ns, uint64_t *waits)
{
	struct timespec cpu;
	struct rusage usage;

	if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu) || getrusage(RUSAGE_THREAD, &usage))
		return -errno;
	*cpu_ns = (uint64_t)cpu.tv_sec * 1000000000 + (uint64_t)cpu.tv_nsec;
	*waits = (uint64_t)usage.ru_nvcsw;
	return 0;
}
