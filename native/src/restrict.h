/* What a ring may be asked for, for the rest of its life: IORING_REGISTER_RESTRICTIONS. */
#ifndef MP_RESTRICT_H
#define MP_RESTRICT_H

#include <stdint.h>

#include "uapi.h"

/* The most that mp_restrictions lists. */
#define MP_RESTRICTIONS 24u

/* Fills `list` with what the library asks the ring of a channel with these MP_CONFIG_* for. Whatever is not listed the
 * kernel answers with -EACCES. The last entry is an operation that kernels before 6.8 do not know and therefore refuse
 * to list. The number of entries. */
uint32_t mp_restrictions(uint32_t flags, struct io_uring_restriction *list);

#endif
