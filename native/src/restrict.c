/* Which operations a channel's ring takes. A ring that takes more than its owner uses is of use to others only: to who
 * can write to its queue, or gets hold of its descriptor. */
#define _GNU_SOURCE
#include "restrict.h"

#include <string.h>

#include "megapipe.h"
#include "mp_assert.h"

/* What sockets need. CONNECT is there for resets, too: they connect to "no address" (close.c). TIMEOUT and FILES_UPDATE
 * are for connects to Unix sockets (connect.c). */
static const uint8_t sockets[] = {
	IORING_OP_ACCEPT,   IORING_OP_RECV,     IORING_OP_SEND,         IORING_OP_SENDMSG,  IORING_OP_CONNECT,
	IORING_OP_SOCKET,   IORING_OP_SHUTDOWN, IORING_OP_CLOSE,        IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL,
	IORING_OP_MSG_RING, IORING_OP_TIMEOUT,  IORING_OP_FILES_UPDATE,
};

/* And besides: what is no socket. */
static const uint8_t others[] = { IORING_OP_READ, IORING_OP_WRITE, IORING_OP_WRITEV };

/* Neither drains, soft links nor suppressed completions. */
#define FLAGS (IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT | IOSQE_ASYNC | IOSQE_IO_HARDLINK)

static uint32_t list_operations(struct io_uring_restriction *list, uint32_t at, const uint8_t *operations,
				uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		list[at].opcode = IORING_RESTRICTION_SQE_OP;
		list[at++].sqe_op = operations[i];
	}
	return at;
}

uint32_t mp_restrictions(uint32_t flags, struct io_uring_restriction *list)
{
	static const uint8_t zero_copy[] = { IORING_OP_SENDMSG_ZC };
	static const uint8_t newest[] = { MP_OP_FIXED_FD_INSTALL };
	uint32_t count = 0;

	memset(list, 0, MP_RESTRICTIONS * sizeof *list);
	/* The one register operation is what starts the ring, and fails from then on: everything that a channel
	 * registers it registers before. It is listed because newer kernels take "none listed" for "all allowed" (7.3.4
	 * does, 6.18 does not; registering_is_over). */
	list[count].opcode = IORING_RESTRICTION_REGISTER_OP;
	list[count++].register_op = IORING_REGISTER_ENABLE_RINGS;
	list[count].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	list[count++].sqe_flags = FLAGS;
	count = list_operations(list, count, sockets, sizeof sockets);
	if (flags & MP_CONFIG_ZERO_COPY)
		count = list_operations(list, count, zero_copy, sizeof zero_copy);
	if (!(flags & MP_CONFIG_SOCKETS))
		count = list_operations(list, count, others, sizeof others);
	count = list_operations(list, count, newest, sizeof newest);
	MP_ASSERT(count <= MP_RESTRICTIONS);
	return count;
}
