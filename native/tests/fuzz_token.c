/* Fuzz target: tokens and completions of any value. What belongs to no request is counted as stale; what claims to
 * belong to one and cannot ends by MP_ASSERT, here with a jump; nothing else may happen. */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "../src/channel.h"
#include "fake_kernel.h"

#define COMPLETIONS 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static jmp_buf broken_rule;

_Noreturn void mp_assert_failed(const char *rule, const char *file, int line)
{
	(void)rule;
	(void)file;
	(void)line;
	longjmp(broken_rule, 1);
}

/* The library believed an injected completion: it gave back a buffer or closed an fd that never was its own. */
static void believed(void)
{
	longjmp(broken_rule, 1);
}

static void must(bool rule)
{
	if (!rule)
		abort();
}

/* The channel has an accept, a leased read, a plain read, a write that waits, and a connect. */
static struct mp_channel *open_channel(void)
{
	static uint8_t data[2 * FAKE_INBOX_BYTES], to[16];
	struct mp_config config = {
		.size = sizeof config, .max_handles = 16, .queue_entries = 16, .buffer_count = 4, .buffer_bytes = 64
	};
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = 80 };
	struct mp_channel *channel;
	mp_handle handles[3];

	must(mp_create(&config, &channel) == 0);
	must(mp_accept(channel, mp_register(channel, fake_listen(80, false), 0, 0, 0), 2, MP_ACCEPT_KEEP) == 0);
	for (uint32_t i = 0; i < 3; i++) {
		uint32_t peer;

		handles[i] = mp_register(channel, fake_pair(true, i == 2, &peer), 0, 0, 0);
		must(handles[i] > 0);
	}
	must(mp_read_start(channel, handles[0]) == 0);
	must(mp_read(channel, handles[1], to, sizeof to) == 0);
	must(mp_write(channel, handles[1], data, sizeof data) == 0);
	must(mp_read_start(channel, handles[2]) == 0);
	must(mp_connect(channel, &address, sizeof address, 0, MP_ACCEPT_LWSOCKET) > 0);
	must(mp_flush(channel) >= 0);
	return channel;
}

/* The memory of a channel in whatever state; what it had in the fake kernel is forgotten first. */
static void abandon(struct mp_channel *channel)
{
	fake_abandon();
	for (uint32_t i = 0; i < channel->handles.untouched; i++) {
		struct mp_slot *slot = &channel->handles.slots[i];

		if (slot->kind == MP_KIND_LISTENER)
			free(slot->accepts);
		else
			free(slot->long_address);
	}
	mp_buffers_close(&channel->buffers);
	mp_handles_close(&channel->handles);
	free(channel);
}

static uint64_t take(const uint8_t **data, size_t *bytes, size_t wanted)
{
	uint64_t value = 0;

	if (wanted > *bytes)
		wanted = *bytes;
	memcpy(&value, *data, wanted);
	*data += wanted;
	*bytes -= wanted;
	return value;
}

static bool is_stale(const struct mp_channel *channel, uint64_t token)
{
	uint32_t op = mp_token_op(token), index = mp_token_index(token);

	if (op == MP_TOKEN_NONE || op == MP_TOKEN_WAKE || op == MP_TOKEN_ARRIVE)
		return false;
	return index >= channel->handles.untouched || channel->handles.slots[index].state == MP_SLOT_FREE ||
	       channel->handles.slots[index].generation != mp_token_generation(token);
}

static void one_completion(struct mp_channel *channel, const uint8_t **data, size_t *bytes)
{
	uint32_t shape = (uint32_t)take(data, bytes, 1);
	uint64_t token = take(data, bytes, 8), stale_before = channel->counters.stale_events;
	int32_t result = (int32_t)take(data, bytes, 4), count;
	uint32_t flags = (uint32_t)take(data, bytes, 4);
	struct mp_event events[4];
	bool stale;

	must(mp_token(mp_token_op(token), mp_token_generation(token), mp_token_index(token)) ==
	     (token & ~(1ull << 55)));
	(void)mp_handles_slot(&channel->handles, (mp_handle)token);
	/* Most random tokens are stale: shapes that come close to a live one, and results that are plausible. */
	if (shape & 1)
		token = mp_token((uint32_t)(token & 0x1f), 1, (uint32_t)(token >> 8) % 8);
	if (shape & 2)
		token |= (uint64_t)MP_TOKEN_ACCEPT << MP_OP_SHIFT;
	if (shape & 4)
		result %= 80;
	if (shape & 8)
		flags = (flags & 3) | (flags >> 8 & 3) << IORING_CQE_BUFFER_SHIFT;
	stale = is_stale(channel, token) && !(flags & IORING_CQE_F_BUFFER);
	fake_inject(&channel->ring, token, result, flags);
	/* The injected one is the oldest that has not been seen. */
	count = mp_dispatch(channel, events, stale ? 1 : 4, 0);
	must(count >= 0);
	if (stale)
		must(channel->counters.stale_events > stale_before);
	for (int32_t i = 0; i < count; i++)
		if (events[i].flags & MP_EVENT_LEASED && shape & 16)
			must(mp_release(channel, events[i].lease) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct mp_channel *volatile channel = NULL;

	fake_on_broken = believed;
	fake_begin(1, NULL);
	if (!setjmp(broken_rule)) {
		struct mp_event events[32];

		channel = open_channel();
		/* What the channel itself has waiting comes first. */
		for (int i = 0; i < 4; i++)
			must(mp_dispatch(channel, events, 32, 0) >= 0);
		for (uint32_t i = 0; i < COMPLETIONS && bytes > 0; i++)
			one_completion(channel, &data, &bytes);
	}
	if (channel)
		abandon(channel);
	return 0;
}
