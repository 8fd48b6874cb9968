/* Whether this kernel lets a closed lightweight socket go at once. Up to 6.12 removed fixed files are released in the
 * order of their removal, each behind every request that used a fixed file before: one idle connection keeps all that
 * are closed after it, and a peer that waits for FIN gets none (6.1 adds a second of its own). Tried, not guessed by
 * version; replaced by the fake kernel. */
#define _GNU_SOURCE
#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ring.h"

#define TRIAL_ENTRIES 8u
#define TRIAL_WAIT_NS 1000000000
/* Where the kernel does it, the peer has its end when the system call returns. */
#define TRIAL_GRACE_MS 20

enum { UNKNOWN, AT_ONCE, LATE };

static bool submit(struct mp_ring *ring, const struct io_uring_sqe *request)
{
	struct io_uring_sqe *entry = mp_ring_next(ring);

	if (!entry)
		return false;
	*entry = *request;
	return mp_ring_enter(ring, 0, 0) == 1;
}

/* The completion of the one request that is not armed. */
static bool done(struct mp_ring *ring)
{
	struct io_uring_cqe *completion;
	bool well;

	if (!mp_ring_peek(ring, 0))
		(void)mp_ring_enter(ring, 1, TRIAL_WAIT_NS);
	completion = mp_ring_peek(ring, 0);
	well = completion && completion->res >= 0;
	if (completion)
		mp_ring_seen(ring, 1);
	return well;
}

/* Moves two sockets into the table, arms a receive on the first, closes the second: does its peer hear of it? */
static bool peer_gets_its_end(struct mp_ring *ring, int32_t idle, int32_t closed, int32_t peer, uint8_t *byte)
{
	int32_t fds[2] = { idle, closed };
	const struct io_uring_sqe move = {
		.opcode = IORING_OP_FILES_UPDATE, .fd = -1, .addr = (uint64_t)(uintptr_t)fds, .len = 2
	};
	const struct io_uring_sqe receive = { .opcode = IORING_OP_RECV,
					      .fd = 0,
					      .flags = IOSQE_FIXED_FILE,
					      .addr = (uint64_t)(uintptr_t)byte,
					      .len = 1 };
	const struct io_uring_sqe end = { .opcode = IORING_OP_CLOSE, .file_index = 2 };
	struct pollfd waiting = { .fd = peer, .events = POLLIN };
	bool moved = mp_ring_register_files(ring, TRIAL_ENTRIES) == 0 && submit(ring, &move) && done(ring);

	close(closed);
	return moved && submit(ring, &receive) && submit(ring, &end) && done(ring) &&
	       poll(&waiting, 1, TRIAL_GRACE_MS) == 1;
}

static bool try_it(void)
{
	const struct mp_ring_config config = { .entries = TRIAL_ENTRIES, .cq_entries = TRIAL_ENTRIES * 2 };
	static uint8_t byte; /* nobody reads it, and the kernel may have it for a while */
	int one[2], two[2];
	struct mp_ring ring;
	bool at_once = false;

	if (mp_ring_open(&ring, &config))
		return false;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, one))
		goto close_ring;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, two))
		goto close_one;
	at_once = peer_gets_its_end(&ring, one[0], two[0], two[1], &byte);
	close(two[1]);
close_one:
	close(one[0]);
	close(one[1]);
close_ring:
	mp_ring_close(&ring);
	return at_once;
}

bool mp_ring_releases_at_once(void)
{
	static _Atomic int known; /* the kernel's answer does not change; two threads may both ask it */
	int answer = atomic_load_explicit(&known, memory_order_relaxed);

	if (answer == UNKNOWN) {
		answer = try_it() ? AT_ONCE : LATE;
		atomic_store_explicit(&known, answer, memory_order_relaxed);
	}
	return answer == AT_ONCE;
}
