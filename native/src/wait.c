/* How a channel waits for completions: at once asleep, or awake for a while before, where events have come shortly one
 * after the other (mp_set_wait). An awake wait takes no system call per look and no wake-up of an idle CPU, and costs a
 * CPU meanwhile; so it is bounded, asks each time whether somebody else wants the CPU, and few do it at a time. */
#define _GNU_SOURCE
#include <errno.h>

#include "channel.h"
#include "os.h"

#define MOST_SPIN_NS 10000000u

/* A yield that lasts longer let somebody else run: this CPU is not idle. One to nobody takes a tenth of it. */
#define TAKEN_NS 5000

/* Looks at the queue between two yields: about a microsecond. */
#define LOOKS 16

/* Of the last eight waits so many must have been short, or the next one is likely to be spun in vain. */
#define SHORT_WAITS 5

/* Channels of the process that spin now; a hint, orders nothing. */
static _Atomic uint32_t spinners;

int32_t mp_set_wait(struct mp_channel *channel, uint32_t spin_ns, uint32_t most_spinners)
{
	if (spin_ns > MOST_SPIN_NS)
		return -EINVAL;
	channel->wait.spin_ns = spin_ns;
	channel->wait.most_spinners = most_spinners;
	return 0;
}

int32_t mp_is_spinning(const struct mp_channel *channel)
{
	return atomic_load_explicit(&channel->wait.spinning, memory_order_relaxed);
}

static bool something(struct mp_channel *channel)
{
	/* Acquire: pairs with mp_wake, as awake_again does. The kernel says so where it has work for this thread. */
	return mp_ring_peek(&channel->ring, 0) ||
	       (mp_ring_flags(&channel->ring) & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN)) ||
	       atomic_load_explicit(&channel->wake_state, memory_order_acquire) != MP_AWAKE;
}

static bool spin(struct mp_channel *channel, int64_t now_ns)
{
	int64_t end_ns = now_ns + channel->wait.spin_ns;

	for (;;) {
		int64_t yielded_ns;

		for (uint32_t i = 0; i < LOOKS; i++) {
			if (something(channel))
				return true;
			mp_os_relax();
		}
		now_ns = mp_os_now_ns();
		if (now_ns >= end_ns)
			return false;
		mp_os_yield();
		yielded_ns = mp_os_now_ns();
		if (yielded_ns - now_ns > TAKEN_NS) {
			channel->wait.history = 0;
			return something(channel);
		}
	}
}

bool mp_wait_spin(struct mp_channel *channel, int64_t timeout_ns)
{
	struct mp_wait *wait = &channel->wait;
	bool found = false;

	wait->began_ns = 0;
	if (!wait->spin_ns || (timeout_ns >= 0 && timeout_ns < (int64_t)wait->spin_ns))
		return false;
	wait->began_ns = mp_os_now_ns();
	if (__builtin_popcount(wait->history) < SHORT_WAITS)
		return false;
	if (atomic_fetch_add_explicit(&spinners, 1, memory_order_relaxed) < wait->most_spinners) {
		atomic_store_explicit(&wait->spinning, true, memory_order_relaxed);
		found = spin(channel, wait->began_ns);
		atomic_store_explicit(&wait->spinning, false, memory_order_relaxed);
		wait->spins++;
		if (found) {
			wait->spins_paid++;
			wait->history = (uint8_t)(wait->history << 1 | 1);
			wait->began_ns = 0;
		}
	}
	atomic_fetch_sub_explicit(&spinners, 1, memory_order_relaxed);
	return found;
}

void mp_wait_ended(struct mp_channel *channel)
{
	struct mp_wait *wait = &channel->wait;

	if (wait->began_ns) {
		/* What a sleep lasts has the way to sleep and back in it, about as much as is worth spinning. */
		bool brief = mp_os_now_ns() - wait->began_ns < 2 * (int64_t)wait->spin_ns;

		wait->history = (uint8_t)(wait->history << 1 | brief);
	}
}
