/* What a second listening socket has from the first. */
#ifndef MP_OS_OPTIONS_H
#define MP_OS_OPTIONS_H

#include <stdint.h>

/* Gives `to`, which must be new and unbound, every option of `from` that can be read. 0, or -EOPNOTSUPP when one of
 * them could not be set. SO_REUSEPORT and SO_INCOMING_CPU are left alone. */
int32_t mp_os_copy_options(int32_t from, int32_t to);

#endif
