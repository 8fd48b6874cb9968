/* Prints `name size` for each public struct and `name.field offset` for each field, for the test that compares the
 * managed mirrors with them. */
#include <stddef.h>
#include <stdio.h>
#include <sys/uio.h>

#include "megapipe.h"
#include "testing.h"
#include "token.h"

#define SIZE(type) printf(#type " %zu\n", sizeof(struct type))
#define FIELD(type, field) printf(#type "." #field " %zu\n", offsetof(struct type, field))
#define VALUE(name) printf(#name " %lld\n", (long long)(name))

static void structs(void)
{
	SIZE(mp_event);
	FIELD(mp_event, cookie);
	FIELD(mp_event, handle);
	FIELD(mp_event, data);
	FIELD(mp_event, result);
	FIELD(mp_event, stage);
	FIELD(mp_event, flags);
	FIELD(mp_event, lease);
	FIELD(mp_event, source);

	SIZE(mp_config);
	FIELD(mp_config, size);
	FIELD(mp_config, flags);
	FIELD(mp_config, queue_entries);
	FIELD(mp_config, max_handles);
	FIELD(mp_config, buffer_count);
	FIELD(mp_config, buffer_bytes);
	FIELD(mp_config, batch_threshold);
	FIELD(mp_config, cpu_plus_one);
	FIELD(mp_config, max_lwsockets);
	FIELD(mp_config, busy_poll_us);

	SIZE(mp_counters);
	FIELD(mp_counters, system_calls);
	FIELD(mp_counters, requests);
	FIELD(mp_counters, events);
	FIELD(mp_counters, dispatches);
	FIELD(mp_counters, waits);
	FIELD(mp_counters, wakes);
	FIELD(mp_counters, accepted);
	FIELD(mp_counters, buffers_starved);
	FIELD(mp_counters, cq_overflows);
	FIELD(mp_counters, stale_events);
	FIELD(mp_counters, rearms);
	FIELD(mp_counters, ends_found);
	FIELD(mp_counters, short_writes);
	FIELD(mp_counters, transfers);
	FIELD(mp_counters, leases_out);
	FIELD(mp_counters, handles_live);
	FIELD(mp_counters, in_flight);

	SIZE(mp_features);
	FIELD(mp_features, size);
	FIELD(mp_features, available);
	FIELD(mp_features, reason);

	SIZE(iovec);
	FIELD(iovec, iov_base);
	FIELD(iovec, iov_len);
}

static void values(void)
{
	VALUE(MP_ABI_VERSION);
	VALUE(MP_STAGE_ACCEPT);
	VALUE(MP_STAGE_READ);
	VALUE(MP_STAGE_WRITE);
	VALUE(MP_STAGE_CLOSE);
	VALUE(MP_EVENT_MORE);
	VALUE(MP_EVENT_LEASED);
	VALUE(MP_EVENT_CONNECTED);
	VALUE(MP_EVENT_TRANSFERRED);
	VALUE(MP_EVENT_LWSOCKET);
	VALUE(MP_EVENT_DISCONNECTED);
	VALUE(MP_EVENT_RETIRED);
	VALUE(MP_EVENT_GIVEN);
	VALUE(MP_EVENT_HANGUP);
	VALUE(MP_EVENT_REST);
	VALUE(MP_EVENT_HELD);
	VALUE(MP_EVENT_RELEASED);
	VALUE(MP_EVENT_COPIED);
	VALUE(MP_CONFIG_SINGLE_THREAD);
	VALUE(MP_CONFIG_NO_FD_INSTALL);
	VALUE(MP_CONFIG_WAKE_EVENTFD);
	VALUE(MP_CONFIG_NO_LEASE);
	VALUE(MP_CONFIG_SOCKETS);
	VALUE(MP_CONFIG_UNRESTRICTED);
	VALUE(MP_CONFIG_ZERO_COPY);
	VALUE(MP_ACCEPT_LWSOCKET);
	VALUE(MP_ACCEPT_KEEP);
	VALUE(MP_SHUT_READ);
	VALUE(MP_SHUT_WRITE);
	VALUE(MP_SHUT_BOTH);
	VALUE(MP_CLOSE_ABORT);
	VALUE(MP_FEATURE_RING);
	VALUE(MP_FEATURE_LEASED_READ);
	VALUE(MP_FEATURE_LWSOCKET);
	VALUE(MP_FEATURE_TRANSFER);
	VALUE(MP_FEATURE_SINGLE_THREAD);
	VALUE(MP_FEATURE_FD_INSTALL);
	VALUE(MP_FEATURE_NO_IOWAIT);
	VALUE(MP_FEATURE_DIRECT_WAKE);
	VALUE(MP_FEATURE_PROMPT_CLOSE);
	VALUE(MP_FEATURE_ZERO_COPY);
	VALUE(MP_FEATURE_BUSY_POLL);
	VALUE(MP_FEATURE_COUNT);
	VALUE(MP_REASON_BYTES);
	VALUE(MP_INDEX_BITS);
	VALUE(MP_ERROR_TOO_OLD);
	VALUE(MP_ERROR_DENIED);
	VALUE(MP_ERROR_LOCKED_MEMORY);
}

int main(void)
{
	structs();
	values();
	return 0;
}
