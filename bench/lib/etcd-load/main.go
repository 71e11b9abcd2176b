// Puts load on an etcd cluster through its own Go client, and tells what it measured as one object of JSON.
//
//	etcd-load write|read|import|watch|session|probe --endpoints A,B,C [--connections C] [--in-flight N] [--seconds S]
//	          [--value-size B] [--keys K] [--read-level linearizable|stale] [--rate R] [--watchers W]
//
// A connection is a client of its own, with one of the endpoints in turn, and as many workers as operations may be in flight.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/clientv3"
)

type options struct {
	endpoints             []string
	connections, inFlight int
	seconds, rate         float64
	valueSize, watchers   int
	keys                  int64
	isStale               bool
}

func (settings options) duration() time.Duration {
	return time.Duration(settings.seconds * float64(time.Second))
}

// A mode measures until its time is over, or its work is done; what it prepares before that is not in the time that it tells.
var modes = map[string]func(options, []*clientv3.Client) ([]*meter, time.Duration){
	"write":   write,
	"read":    read,
	"import":  importKeys,
	"watch":   watch,
	"session": keepAlive,
}

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	settings := parse(os.Args[2:])
	measure, isMode := modes[os.Args[1]]
	if os.Args[1] == "probe" {
		probe(settings)
	} else if !isMode {
		usage()
	}
	clients := connect(settings)
	line, err := json.Marshal(summary(measure(settings, clients)))
	check(err)
	fmt.Println(string(line))
	for _, client := range clients {
		client.Close()
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: etcd-load write|read|import|watch|session|probe --endpoints A,B,C [flags]; see -h of a mode")
	os.Exit(2)
}

func parse(arguments []string) options {
	var settings options
	flags := flag.NewFlagSet("etcd-load", flag.ExitOnError)
	endpoints := flags.String("endpoints", "", "client addresses of the nodes")
	level := flags.String("read-level", "linearizable", "linearizable or stale")
	flags.IntVar(&settings.connections, "connections", 1, "connections")
	flags.IntVar(&settings.inFlight, "in-flight", 1, "operations in flight on each")
	flags.Float64Var(&settings.seconds, "seconds", 10, "seconds to measure")
	flags.Float64Var(&settings.rate, "rate", 0, "writes a second, each at its time; 0: as many as are answered")
	flags.IntVar(&settings.valueSize, "value-size", 256, "bytes of a value")
	flags.IntVar(&settings.watchers, "watchers", 1000, "watchers of one key")
	flags.Int64Var(&settings.keys, "keys", 10000, "keys")
	check(flags.Parse(arguments))
	settings.endpoints = strings.Split(*endpoints, ",")
	settings.isStale = *level == "stale"
	if *endpoints == "" || settings.connections < 1 || settings.inFlight < 1 || settings.keys < 1 ||
		settings.valueSize < timeSize || flags.NArg() > 0 {
		usage()
	}
	return settings
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcd-load:", err)
		os.Exit(1)
	}
}

func newClient(endpoint string) *clientv3.Client {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 20 * time.Second})
	check(err)
	return client
}

func connect(settings options) []*clientv3.Client {
	clients := make([]*clientv3.Client, settings.connections)
	for number := range clients {
		clients[number] = newClient(settings.endpoints[number%len(settings.endpoints)])
	}
	return clients
}

func keyName(key int64) string { return fmt.Sprintf("load/%011d", key) }

func randomValue(size int) string {
	bytes := make([]byte, size)
	rand.Read(bytes)
	return string(bytes)
}

// eachWorker runs all workers of all connections at once, each with a meter of its own.
func eachWorker(
	settings options, clients []*clientv3.Client, work func(*clientv3.Client, *meter, *rand.Rand),
) ([]*meter, time.Duration) {
	began := time.Now()
	meters := make([]*meter, settings.connections*settings.inFlight)
	var running sync.WaitGroup
	for number := range meters {
		meters[number] = &meter{}
		running.Add(1)
		go func(number int) {
			defer running.Done()
			work(clients[number%len(clients)], meters[number], rand.New(rand.NewSource(int64(number))))
		}(number)
	}
	running.Wait()
	return meters, time.Since(began)
}

// schedule tells the workers together when their operations are due: at once, or each at its time, however late those
// before it are. Latencies count from then. Reports false when the time is over.
func schedule(settings options) func() (time.Time, bool) {
	began := time.Now()
	end := began.Add(settings.duration())
	var count int64
	return func() (time.Time, bool) {
		now := time.Now()
		if settings.rate == 0 {
			return now, now.Before(end)
		}
		number := atomic.AddInt64(&count, 1) - 1
		due := began.Add(time.Duration(float64(number) / settings.rate * float64(time.Second)))
		time.Sleep(due.Sub(now))
		return due, due.Before(end)
	}
}

func write(settings options, clients []*clientv3.Client) ([]*meter, time.Duration) {
	next, value := schedule(settings), randomValue(settings.valueSize)
	return eachWorker(settings, clients, func(client *clientv3.Client, meter *meter, random *rand.Rand) {
		for due, isOpen := next(); isOpen; due, isOpen = next() {
			_, err := client.Put(context.Background(), keyName(random.Int63n(settings.keys)), value)
			meter.add(due, 1, err)
		}
	})
}

func read(settings options, clients []*clientv3.Client) ([]*meter, time.Duration) {
	next := schedule(settings)
	var level []clientv3.OpOption
	if settings.isStale {
		level = append(level, clientv3.WithSerializable())
	}
	return eachWorker(settings, clients, func(client *clientv3.Client, meter *meter, random *rand.Rand) {
		for due, isOpen := next(); isOpen; due, isOpen = next() {
			_, err := client.Get(context.Background(), keyName(random.Int63n(settings.keys)), level...)
			meter.add(due, 1, err)
		}
	})
}

// importKeys puts every key once, a hundred to a transaction: a server takes up to 128 by default.
func importKeys(settings options, clients []*clientv3.Client) ([]*meter, time.Duration) {
	const perTransaction = 100
	value := randomValue(settings.valueSize)
	var taken int64
	return eachWorker(settings, clients, func(client *clientv3.Client, meter *meter, _ *rand.Rand) {
		for {
			end := atomic.AddInt64(&taken, perTransaction)
			var puts []clientv3.Op
			for key := end - perTransaction; key < end && key < settings.keys; key++ {
				puts = append(puts, clientv3.OpPut(keyName(key), value))
			}
			if len(puts) == 0 {
				return
			}
			began := time.Now()
			_, err := client.Txn(context.Background()).Then(puts...).Commit()
			meter.add(began, len(puts), err)
		}
	})
}

// probe puts one key every 10 ms until it is killed, whatever becomes of the puts before, and prints a line for each that was
// acknowledged: when it began and when the answer came, in nanoseconds of the wall clock. What is sent to a leader that is
// lost is never answered; a put that waited for such a one would tell too late that there is another.
func probe(settings options) {
	client, value := newClient(settings.endpoints[0]), randomValue(settings.valueSize)
	for range time.Tick(10 * time.Millisecond) {
		go func() {
			began := time.Now()
			limited, cancel := context.WithTimeout(context.Background(), 250*time.Millisecond)
			defer cancel()
			if _, err := client.Put(limited, "probe", value); err == nil {
				fmt.Printf("%d %d\n", began.UnixNano(), time.Now().UnixNano())
			}
		}()
	}
}
