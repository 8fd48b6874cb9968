/* A histogram of durations with a bounded relative error, after the idea of HdrHistogram: each power of two is cut
 * into equal parts, so a bucket's width is under 1 % of its values, over nanoseconds to minutes. */
#ifndef BENCH_COMMON_HISTOGRAM_H
#define BENCH_COMMON_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_PART_BITS 7u   /* 128 parts for each power of two: 0.8 % */
#define HISTOGRAM_LIMIT_BITS 40u /* values up to 2^40 ns, 18 minutes; longer ones count as that */
#define HISTOGRAM_BUCKETS ((HISTOGRAM_LIMIT_BITS - HISTOGRAM_PART_BITS + 1u) << HISTOGRAM_PART_BITS)

struct histogram {
	uint64_t count;
	uint64_t sum_ns;
	uint64_t max_ns;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value_ns);
/* The value that `quantile` (0 to 1) of the recorded ones do not pass; 0 when there are none. */
uint64_t histogram_quantile_ns(const struct histogram *histogram, double quantile);

#endif
