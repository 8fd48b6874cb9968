/* Writes to a peer that takes little at a time: no request waits so often that a worker gets it. The fake kernel checks
 * that. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/uio.h>

#include "fake_kernel_rig.h"

#define BYTES 100000u
#define PIECE 500u /* read at a time: 191 times after what the inbox takes at first */

static void write_slowly(bool nonblock, uint32_t vectors)
{
	struct iovec *pieces = calloc(vectors + 1, sizeof *pieces);
	uint8_t *data = malloc(BYTES), part[PIECE];
	struct rig_link link = pair(nonblock);
	uint32_t got = 0, at = 0;
	uint64_t state = 7;

	fill_pattern(data, BYTES, 0);
	for (uint32_t i = 0; i < vectors; i++) {
		uint32_t bytes = i + 1 == vectors ? BYTES - at : random_below(&state, 2 * BYTES / (3 * vectors));

		pieces[i] = (struct iovec){ data + at, i % 5 || i + 1 == vectors ? bytes : 0 };
		at += (uint32_t)pieces[i].iov_len;
	}
	if (vectors)
		CHECK_EQUAL(0, mp_writev(rig.channel, link.handle, pieces, vectors));
	else
		CHECK_EQUAL(0, mp_write(rig.channel, link.handle, data, BYTES));
	for (uint32_t vain = 0; got < BYTES;) {
		int32_t taken = fake_peer_receive((uint32_t)link.peer, part, sizeof part);

		CHECK(taken >= 0 && pattern_is(part, (uint32_t)taken, got));
		got += (uint32_t)taken;
		vain = taken ? 0 : vain + 1;
		CHECK(vain < 100);
		fake_run(1);
		rig_turn(&rig);
	}
	CHECK_EQUAL(0, fake_peer_receive((uint32_t)link.peer, part, sizeof part));
	CHECK_EQUAL(BYTES, rig_take(&rig, link.handle, MP_STAGE_WRITE).result);
	unlink_pair(&link);
	free(pieces);
	free(data);
}

static void for_every_write(uint16_t shorten)
{
	static const uint32_t vectors[] = { 0, 1, 7, 1024 };

	for (uint32_t i = 0; i < 2 * COUNT_OF(vectors); i++) {
		begin();
		fake_chances.shorten = shorten;
		write_slowly(i & 1, vectors[i / 2]);
		CHECK(rig_counters(&rig).short_writes >= BYTES / FAKE_INBOX_BYTES);
		end();
	}
}

static void big_writes_never_wait_too_often(void)
{
	for_every_write(0);
	for_every_write(500);
}

/* What is taken at once is one request, and not short. */
static void write_with_room_is_one_request(void)
{
	static uint8_t data[FAKE_INBOX_BYTES];
	struct rig_link link;
	uint64_t before;

	begin();
	link = pair(false);
	rig_write(&rig, link.handle, data, 1);
	CHECK_EQUAL(1, fake_peer_receive((uint32_t)link.peer, data, 1));
	before = rig_counters(&rig).requests;
	rig_write(&rig, link.handle, data, sizeof data);
	CHECK_EQUAL(before + 1, rig_counters(&rig).requests);
	CHECK_EQUAL(0, rig_counters(&rig).short_writes);
	unlink_pair(&link);
	end();
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(big_writes_never_wait_too_often),
		TEST(write_with_room_is_one_request),
	};

	return RUN_TESTS(tests, argc, argv);
}
