/* What the kernel counts of the calling thread, and how many more it would start. */
#include "megapipe.h"
#include "os.h"

int32_t mp_thread_times(uint64_t *cpu_ns, uint64_t *waits)
{
	return mp_os_thread_times(cpu_ns, waits);
}

int32_t mp_thread_room(uint32_t most)
{
	return mp_os_thread_room(most);
}
