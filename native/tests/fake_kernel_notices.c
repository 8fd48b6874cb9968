/* The fake kernel's zero-copy sends: the memory that it keeps beyond their results, and the notifications. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fake_kernel.h"

#define NOTICES 4096u

/* What was taken, and what it must still be when it is given back. */
struct notice {
	struct fake_ring *ring;
	uint64_t user_data;
	struct iovec *vectors;
	uint32_t vector_count;
	uint32_t bytes;
	uint64_t checksum;
};

bool fake_no_report;
bool fake_keeps_notices;
static struct notice notices[NOTICES]; /* oldest first */
static uint32_t count;

void fake_notices_begin(void)
{
	fake_no_report = fake_keeps_notices = false;
	while (count > 0)
		free(notices[--count].vectors);
}

uint32_t fake_notices(void)
{
	return count;
}

static void post(struct fake_ring *ring, uint64_t user_data)
{
	uint32_t result = fake_chance(fake_chances.copy) ? MP_NOTIF_COPIED : 0;

	fake_post(ring, user_data, (int32_t)result, IORING_CQE_F_NOTIF);
}

static void remove_at(uint32_t at)
{
	free(notices[at].vectors);
	count--;
	memmove(notices + at, notices + at + 1, (count - at) * sizeof *notices);
}

static void give_back(uint32_t at)
{
	struct notice notice = notices[at];

	/* It may have been sent again until now. */
	FAKE_RULE(notice.checksum == fake_sum(notice.vectors, notice.vector_count, notice.bytes));
	remove_at(at);
	post(notice.ring, notice.user_data);
}

void fake_notify(uint32_t most)
{
	while (most-- > 0 && count)
		give_back(0);
}

/* In any order: the memory of a send that was copied is free before that of an earlier one. */
void fake_notices_run(void)
{
	for (uint32_t i = 0; i < count && !fake_keeps_notices;)
		if (fake_chance(fake_chances.late_notice))
			i++;
		else
			give_back(i);
}

void fake_notices_end(void)
{
	for (uint32_t i = 0; i < count;)
		if (notices[i].ring->ring)
			i++;
		else
			remove_at(i);
}

uint32_t fake_notice_owe(struct fake_request *request, int32_t result)
{
	struct notice *notice = &notices[count];

	if (result <= 0 && !fake_chance(fake_chances.vain_notice))
		return 0;
	if (!fake_keeps_notices && fake_chance(fake_chances.early_notice)) {
		post(request->ring, request->sqe.user_data);
		return IORING_CQE_F_MORE;
	}
	FAKE_RULE(count < NOTICES);
	count++;
	*notice = (struct notice){ .ring = request->ring,
				   .user_data = request->sqe.user_data,
				   .vectors = request->vectors,
				   .vector_count = request->vector_count,
				   .bytes = result > 0 ? (uint32_t)result : 0 };
	notice->checksum = fake_sum(notice->vectors, notice->vector_count, notice->bytes);
	request->vectors = NULL;
	return IORING_CQE_F_MORE;
}
