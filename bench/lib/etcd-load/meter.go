package main

import (
	"math/bits"
	"time"
)

// 64 buckets to each power of two: a percentile is less than 1.6 % off.
const bucketBits = 6

// A meter counts what one worker did. It has no lock.
type meter struct {
	operations, errors int
	latencies          [64 << bucketBits]int
}

// add counts an answer that came just now and stands for so many operations.
func (m *meter) add(due time.Time, operations int, err error) {
	if err != nil {
		m.errors++
		return
	}
	m.operations += operations
	m.latencies[bucket(uint64(time.Since(due).Microseconds()))]++
}

func bucket(micros uint64) int {
	if micros < 1<<bucketBits {
		return int(micros)
	}
	shift := bits.Len64(micros) - 1 - bucketBits
	return (shift+1)<<bucketBits + int(micros>>shift&(1<<bucketBits-1))
}

// bucketTop is the largest value that bucket puts there.
func bucketTop(index int) int {
	shift := index>>bucketBits - 1
	if shift < 0 {
		return index
	}
	return (1<<bucketBits+index&(1<<bucketBits-1)+1)<<shift - 1
}

type latencyMicros struct {
	P50  int `json:"p50"`
	P90  int `json:"p90"`
	P99  int `json:"p99"`
	P999 int `json:"p999"`
	Max  int `json:"max"`
}

type figures struct {
	Operations          int           `json:"operations"`
	Seconds             float64       `json:"seconds"`
	OperationsPerSecond float64       `json:"operationsPerSecond"`
	Errors              int           `json:"errors"`
	LatencyMicros       latencyMicros `json:"latencyMicros"`
}

func summary(meters []*meter, elapsed time.Duration) figures {
	var sum meter
	count := 0
	for _, meter := range meters {
		sum.operations += meter.operations
		sum.errors += meter.errors
		for index, latencies := range meter.latencies {
			sum.latencies[index] += latencies
			count += latencies
		}
	}
	percentile := func(share float64) int {
		rank, seen := int(share*float64(count)), 0
		for index, latencies := range sum.latencies {
			seen += latencies
			if seen > rank || seen == count && count > 0 {
				return bucketTop(index)
			}
		}
		return 0
	}
	return figures{
		Operations: sum.operations, Seconds: elapsed.Seconds(), Errors: sum.errors,
		OperationsPerSecond: float64(sum.operations) / elapsed.Seconds(),
		LatencyMicros:       latencyMicros{percentile(0.5), percentile(0.9), percentile(0.99), percentile(0.999), percentile(1)},
	}
}
