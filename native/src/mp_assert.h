/* Misuse and corruption end the process at once, with the broken rule on stderr: the kernel writes into our memory,
 * so going on would let it write into somebody else's. Always on. */
#ifndef MP_ASSERT_H
#define MP_ASSERT_H

_Noreturn void mp_assert_failed(const char *rule, const char *file, int line);

#define MP_ASSERT(rule) (__builtin_expect(!!(rule), 1) ? (void)0 : mp_assert_failed(#rule, __FILE__, __LINE__))

#endif
