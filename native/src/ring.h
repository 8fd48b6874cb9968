/* The submission and completion queues. ring.c is the only caller of io_uring's system calls; tests/fake_kernel.c
 * stands in for it with a simulated kernel, so everything the kernel does to the library goes through here. */
#ifndef MP_RING_H
#define MP_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "uapi.h"

struct mp_ring {
	int32_t fd;
	uint32_t features;    /* IORING_FEAT_* of the kernel */
	uint32_t enter_flags; /* added to each enter that waits */

	struct io_uring_sqe *sqes;
	_Atomic uint32_t *sq_head; /* written by the kernel, pairs with our acquire in mp_ring_next */
	_Atomic uint32_t *sq_tail;
	_Atomic uint32_t *sq_flags;
	uint32_t sq_mask;
	uint32_t sq_entries;
	uint32_t tail;      /* next submission, not yet visible */
	uint32_t submitted; /* what the kernel has taken */

	struct io_uring_cqe *cqes;
	_Atomic uint32_t *cq_head;
	_Atomic uint32_t *cq_tail; /* written by the kernel, pairs with our acquire in mp_ring_peek */
	uint32_t cq_mask;
	uint32_t cq_entries;

	void *map;
	uint64_t map_bytes;
	void *sqe_map;
	uint64_t sqe_map_bytes;
	void *backend; /* the fake kernel's state */
};

struct mp_ring_config {
	uint32_t entries;
	uint32_t cq_entries;
	bool single_thread;
	bool disabled; /* takes nothing but registrations until mp_ring_start */
};

/* 0 or -errno. On success the ring owns its memory until mp_ring_close. */
int32_t mp_ring_open(struct mp_ring *ring, const struct mp_ring_config *config);
void mp_ring_close(struct mp_ring *ring);

/* Gives what is prepared to the kernel; waits for `wait` completions up to `timeout_ns` (negative: no limit).
 * The number of submissions taken, or -errno (-ETIME after the timeout, -EINTR after a signal). */
int32_t mp_ring_enter(struct mp_ring *ring, uint32_t wait, int64_t timeout_ns);

/* Waits for one completion and gives nothing: for a kernel that takes no request at the moment. 0 or -errno. */
int32_t mp_ring_wait(struct mp_ring *ring, int64_t timeout_ns);

/* Enters without giving or taking anything: whether the process may. 0 or -errno. */
int32_t mp_ring_check(struct mp_ring *ring);

/* A sparse table of `count` fixed files; a provided-buffer ring as group 0. 0 or -errno. */
int32_t mp_ring_register_files(struct mp_ring *ring, uint32_t count);
int32_t mp_ring_register_buffers(struct mp_ring *ring, struct io_uring_buf_ring *buffers, uint32_t entries);

/* Each wait polls the network cards for `busy_poll_us` before it sleeps. 0 or -errno. */
int32_t mp_ring_register_busy_poll(struct mp_ring *ring, uint32_t busy_poll_us);

/* Starts a ring that was opened disabled: from here on it refuses what `list` (restrict.h) lacks. 0 or -errno. */
int32_t mp_ring_start(struct mp_ring *ring, const struct io_uring_restriction *list, uint32_t count);

/* Makes a token appear in `ring`'s completions from a thread without a ring (6.13). 0 or -errno. */
int32_t mp_ring_post(struct mp_ring *ring, uint64_t token);

/* Submissions prepared and not yet taken. */
static inline uint32_t mp_ring_pending(const struct mp_ring *ring)
{
	return ring->tail - ring->submitted;
}

/* The next free submission, zeroed by the caller's mp_batch_request; NULL when the queue is full. */
static inline struct io_uring_sqe *mp_ring_next(struct mp_ring *ring)
{
	uint32_t head = atomic_load_explicit(ring->sq_head, memory_order_acquire);

	if (ring->tail - head >= ring->sq_entries)
		return NULL;
	return &ring->sqes[ring->tail++ & ring->sq_mask];
}

/* The oldest completion, or NULL. Valid until mp_ring_seen. */
static inline struct io_uring_cqe *mp_ring_peek(const struct mp_ring *ring, uint32_t ahead)
{
	uint32_t head = atomic_load_explicit(ring->cq_head, memory_order_relaxed) + ahead;

	if (head == atomic_load_explicit(ring->cq_tail, memory_order_acquire))
		return NULL;
	return &ring->cqes[head & ring->cq_mask];
}

/* Completions that nobody has taken yet. */
static inline uint32_t mp_ring_waiting(const struct mp_ring *ring)
{
	return atomic_load_explicit(ring->cq_tail, memory_order_acquire) -
	       atomic_load_explicit(ring->cq_head, memory_order_relaxed);
}

/* Gives `count` completions back; release: the kernel may overwrite them from here on. */
static inline void mp_ring_seen(struct mp_ring *ring, uint32_t count)
{
	uint32_t head = atomic_load_explicit(ring->cq_head, memory_order_relaxed);

	atomic_store_explicit(ring->cq_head, head + count, memory_order_release);
}

static inline uint32_t mp_ring_flags(const struct mp_ring *ring)
{
	return atomic_load_explicit(ring->sq_flags, memory_order_relaxed);
}

/* Whether the kernel releases a closed direct descriptor while a request on an earlier one is in flight; tried once per
 * process. In release.c. Any thread. */
bool mp_ring_releases_at_once(void);

#endif
