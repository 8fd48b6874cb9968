/* Why a kernel that may well have io_uring does not give it: what an error of its three system calls means here. */
#ifndef MP_FLOOR_H
#define MP_FLOOR_H

#include <stdbool.h>
#include <stdint.h>

/* From an error of io_uring_register, io_uring_enter or (`setup`) io_uring_setup to what mp_create and mp_probe give:
 * MP_ERROR_TOO_OLD, MP_ERROR_DENIED, MP_ERROR_LOCKED_MEMORY, or the error itself. 0 stays 0. */
int32_t mp_floor_error(int32_t error, bool setup);

/* kernel.io_uring_disabled: 0, 1, 2, or -1 where the kernel has no such setting. */
int32_t mp_floor_disabled(void);

/* How sure it is that ENOSYS of io_uring_setup comes from a filter and not from the kernel. */
enum { MP_NOT_HIDDEN, MP_PERHAPS_HIDDEN, MP_HIDDEN };
int32_t mp_floor_hidden(void);

/* RLIMIT_MEMLOCK in KiB where it can be what ENOMEM comes from, or -1. */
int64_t mp_floor_locked_kib(void);

#endif
