/* The load generator's event loop: one thread, one epoll, connections that send prepared requests and count answers. */
#ifndef BENCH_COMMON_LOOP_H
#define BENCH_COMMON_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common_histogram.h"
#include "common_response.h"

struct loop_result;

struct loop_config {
	struct sockaddr_storage address;
	uint32_t address_bytes;
	/* Connections leave from 127.0.0.1, 127.0.0.2 and so on in turn; 0 lets the system choose. One address has some
	 * 28,000 ports, and each is blocked for up to a minute after a connection that this side closed first. */
	uint32_t source_addresses;
	uint32_t connections;
	uint32_t pipeline;                /* requests in flight per connection, at most */
	uint64_t requests_per_connection; /* then it is closed and a new one opened; 0: never */
	double rate;                      /* requests per second over all connections; 0: closed loop */
	uint64_t warmup_ns;
	uint64_t duration_ns;
	bool reset; /* end connections with RST instead of FIN */

	/* Windows: asks for the next measured time, in ns; 0: no more. Meanwhile the connections stay open and nothing
	 * is sent or received, so servers that are visited in turn keep theirs. NULL: one of duration_ns. */
	uint64_t (*next_window_ns)(void);
	void (*window_ended)(const struct loop_result *result);

	const char *requests; /* `pipeline` copies of the request, one after the other */
	uint64_t request_bytes;
	const char *last; /* the request that a connection ends with */
	uint64_t last_bytes;
	const char *hello; /* sent first on each connection; its answer does not count. NULL: none */
	uint64_t hello_bytes;
	struct response_format format;
};

struct loop_result {
	uint64_t requests;      /* answered within the measured time, good or bad */
	uint64_t bad_responses; /* of those */
	uint64_t errors;        /* failed connects, resets, streams that broke off early, requests stuck for 2 s */
	uint64_t unfinished;    /* open loop: due, not answered at the end; they are in the latencies with their age */
	uint64_t connections;   /* opened within the measured time */
	uint64_t bytes;         /* received */
	double seconds;
	double cpu_seconds;      /* of this process, within the measured time */
	int32_t first_error;     /* errno of the first error, or 0 */
	const char *first_cause; /* what failed first, or NULL */
	struct histogram latency;
};

/* Runs for warmup_ns + duration_ns, or in windows. */
void loop_run(const struct loop_config *config, struct loop_result *result);

#endif
