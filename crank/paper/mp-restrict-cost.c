/* What it costs that a channel's ring restricts itself: CPU time per message of an echo over a socket pair, with and
 * without, in turns within one process. The kernel compares each request with a bit map, so this is the worst case:
 * nothing else is as cheap.
 *
 *   mp-restrict-cost [ROUNDS [MESSAGES]]     default 41 rounds of 50,000 messages on each of the two
 *
 * Prints the median, the least and the most of the ratio restricted : unrestricted over the rounds, and the median
 * cost of each. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "megapipe.h"

#define MOST_ROUNDS 1001u

struct side {
	struct mp_channel *channel;
	mp_handle ends[2];
	int fds[2];
	double cost_ns[MOST_ROUNDS];
};

static void must(int right, const char *what)
{
	if (right)
		return;
	fprintf(stderr, "mp-restrict-cost: %s\n", what);
	exit(1);
}

static void open_side(struct side *side, uint32_t flags)
{
	struct mp_config config = { .size = sizeof config, .flags = flags | (uint32_t)MP_CONFIG_NO_LEASE };

	must(mp_create(&config, &side->channel) == 0, "no channel");
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, side->fds) == 0, "no socket pair");
	for (uint32_t i = 0; i < 2; i++) {
		side->ends[i] = mp_register(side->channel, side->fds[i], 0, 0, 0);
		must(side->ends[i] > 0, "no handle");
	}
}

static double cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void exchange(struct side *side, uint32_t messages)
{
	struct mp_event events[4];
	char in[64], out[64] = "message";

	for (uint32_t i = 0; i < messages; i++) {
		int32_t open = 2;

		must(mp_write(side->channel, side->ends[0], out, sizeof out) == 0, "no write");
		must(mp_read(side->channel, side->ends[1], in, sizeof in) == 0, "no read");
		while (open > 0)
			open -= mp_dispatch(side->channel, events, 4, -1);
	}
}

static int by_value(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
	static struct side sides[2];
	static double ratios[MOST_ROUNDS];
	uint32_t rounds = argc > 1 ? (uint32_t)atoi(argv[1]) : 41;
	uint32_t messages = argc > 2 ? (uint32_t)atoi(argv[2]) : 50000;

	must(rounds > 0 && rounds <= MOST_ROUNDS && messages > 0, "1 to 1001 rounds of at least one message");
	open_side(&sides[0], MP_CONFIG_SOCKETS);
	open_side(&sides[1], MP_CONFIG_UNRESTRICTED);
	exchange(&sides[0], messages / 10 + 1);
	exchange(&sides[1], messages / 10 + 1);
	for (uint32_t round = 0; round < rounds; round++) {
		/* Who begins changes from round to round. */
		for (uint32_t i = 0; i < 2; i++) {
			struct side *side = &sides[(round + i) & 1];
			double begin = cpu_ns();

			exchange(side, messages);
			side->cost_ns[round] = (cpu_ns() - begin) / messages;
		}
		ratios[round] = sides[0].cost_ns[round] / sides[1].cost_ns[round];
	}
	qsort(ratios, rounds, sizeof *ratios, by_value);
	qsort(sides[0].cost_ns, rounds, sizeof(double), by_value);
	qsort(sides[1].cost_ns, rounds, sizeof(double), by_value);
	printf("restricted : unrestricted %.3f (%.3f to %.3f in %u rounds); %.0f ns and %.0f ns a message\n",
	       ratios[rounds / 2], ratios[0], ratios[rounds - 1], rounds, sides[0].cost_ns[rounds / 2],
	       sides[1].cost_ns[rounds / 2]);
	for (uint32_t i = 0; i < 2; i++)
		mp_destroy(sides[i].channel);
	return 0;
}
