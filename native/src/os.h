/* The system calls that do not go through the ring. A seam like ring.h: the fake kernel replaces it. */
#ifndef MP_OS_H
#define MP_OS_H

#include <stdbool.h>
#include <stdint.h>

/* Between two looks at memory that another CPU writes. */
static inline void mp_os_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#endif
}

struct mp_os_fd {
	bool socket;
	bool pipe;   /* or FIFO: a write may bring SIGPIPE */
	bool stream; /* SOCK_STREAM */
	bool listening;
	bool inet;      /* AF_INET or AF_INET6 */
	bool reuseport; /* SO_REUSEPORT is set */
};

/* What an fd is. 0 or -EBADF. */
int32_t mp_os_describe(int32_t fd, struct mp_os_fd *what);

/* A new listening socket on the address of `fd`, in its SO_REUSEPORT group, with its options. fd or -errno;
 * -EOPNOTSUPP when an option cannot be copied: such a socket has no partitions.
 * It queues `backlog` connections. `cpu` >= 0 asks for those whose packets that CPU receives (SO_INCOMING_CPU; ignored
 * where unknown). */
int32_t mp_os_partition(int32_t fd, int32_t cpu, int32_t backlog);

int32_t mp_os_socket(int32_t family, bool nonblocking);
void mp_os_set_blocking(int32_t fd);
int32_t mp_os_eventfd(void);
int32_t mp_os_notify(int32_t eventfd);
void mp_os_close(int32_t fd);
int32_t mp_os_duplicate(int32_t fd);
int32_t mp_os_name(int32_t fd, bool peer, void *address, uint32_t capacity);
int32_t mp_os_set_option(int32_t fd, int32_t level, int32_t name, const void *value, uint32_t bytes);
uint32_t mp_os_fd_limit(void);

/* CLOCK_MONOTONIC. */
int64_t mp_os_now_ns(void);
/* The same clock, late by up to a tick (10 ms) and cheap enough to be read all the time. */
int64_t mp_os_coarse_ns(void);
/* Lets others have the CPU who want it. */
void mp_os_yield(void);
/* See mp_thread_times. */
int32_t mp_os_thread_times(uint64_t *cpu_ns, uint64_t *waits);
/* See mp_thread_room. */
int32_t mp_os_thread_room(uint32_t most);

#endif
