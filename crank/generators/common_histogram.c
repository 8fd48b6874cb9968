/* Histogram of durations: see common_histogram.h. */
#include "common_histogram.h"

#define PARTS (1u << HISTOGRAM_PART_BITS)

/* Values under PARTS have a bucket each; above, the bits after the leading one choose the part. */
static uint32_t bucket_of(uint64_t value)
{
	if (value < PARTS)
		return (uint32_t)value;

	uint32_t power = 63u - (uint32_t)__builtin_clzll(value);
	uint32_t part = (uint32_t)(value >> (power - HISTOGRAM_PART_BITS)) & (PARTS - 1u);

	return ((power - HISTOGRAM_PART_BITS + 1u) << HISTOGRAM_PART_BITS) + part;
}

/* The largest value of a bucket: a quantile never looks better than it was. */
static uint64_t bucket_top(uint32_t bucket)
{
	if (bucket < PARTS)
		return bucket;

	uint32_t shift = (bucket >> HISTOGRAM_PART_BITS) - 1u;
	uint64_t base = (uint64_t)(PARTS + (bucket & (PARTS - 1u))) << shift;

	return base + (1ull << shift) - 1u;
}

void histogram_add(struct histogram *histogram, uint64_t value_ns)
{
	uint64_t most = (1ull << HISTOGRAM_LIMIT_BITS) - 1u;

	histogram->count++;
	histogram->sum_ns += value_ns;
	if (value_ns > histogram->max_ns)
		histogram->max_ns = value_ns;
	histogram->buckets[bucket_of(value_ns < most ? value_ns : most)]++;
}

uint64_t histogram_quantile_ns(const struct histogram *histogram, double quantile)
{
	uint64_t seen = 0, wanted = (uint64_t)(quantile * (double)histogram->count + 0.5);

	if (wanted == 0)
		wanted = histogram->count > 0;
	if (wanted == 0)
		return 0;
	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += histogram->buckets[i];
		if (seen >= wanted)
			return bucket_top(i) < histogram->max_ns ? bucket_top(i) : histogram->max_ns;
	}
	return histogram->max_ns;
}
