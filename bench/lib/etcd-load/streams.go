package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/clientv3"
	pb "go.etcd.io/etcd/etcdserver/etcdserverpb"
)

// watch counts the events that the watchers of one key are told. So many puts as may be in flight are under way at a time: the
// next one waits until every watcher has been told of one of them, so nothing queues without bound.
func watch(settings options, clients []*clientv3.Client) ([]*meter, time.Duration) {
	const key = "watched"
	limited, stop := context.WithCancel(context.Background())
	meters := make([]*meter, settings.watchers)
	places := make(chan struct{}, settings.inFlight)
	var told int64
	var watching sync.WaitGroup
	for number := range meters {
		own, client, created := &meter{}, clients[number%len(clients)], make(chan struct{})
		meters[number] = own
		watching.Add(1)
		go func() {
			defer watching.Done()
			for response := range client.Watch(limited, key, clientv3.WithCreatedNotify()) {
				if response.Created {
					close(created)
				}
				for _, event := range response.Events {
					var sent time.Time
					check(sent.UnmarshalBinary(event.Kv.Value[:timeSize]))
					own.add(sent, 1, nil)
					if atomic.AddInt64(&told, 1)%int64(settings.watchers) == 0 {
						places <- struct{}{}
					}
				}
			}
		}()
		<-created
	}
	began := time.Now()
	time.AfterFunc(settings.duration(), stop)
	for number := 0; number < settings.inFlight; number++ {
		places <- struct{}{}
	}
	writer, padding := newClient(settings.endpoints[0]), randomValue(settings.valueSize-timeSize)
	for limited.Err() == nil {
		select {
		case <-places:
			now, err := time.Now().MarshalBinary()
			check(err)
			go writer.Put(limited, key, string(now)+padding)
		case <-limited.Done():
		}
	}
	elapsed := time.Since(began)
	watching.Wait()
	return meters, elapsed
}

// timeSize is how many bytes a time takes in a value.
const timeSize = 15

// keepAlive renews leases as fast as that is answered: a stream and as many leases as may be in flight on each connection.
func keepAlive(settings options, clients []*clientv3.Client) ([]*meter, time.Duration) {
	meters := make([]*meter, len(clients))
	start := make(chan struct{})
	var granted, running sync.WaitGroup
	for number, client := range clients {
		meters[number] = &meter{}
		granted.Add(1)
		running.Add(1)
		go func(meter *meter, client *clientv3.Client) {
			defer running.Done()
			leases := grant(client, settings.inFlight)
			granted.Done()
			<-start
			renew(client, leases, time.Now().Add(settings.duration()), meter)
		}(meters[number], client)
	}
	granted.Wait()
	began := time.Now()
	close(start)
	running.Wait()
	return meters, time.Since(began)
}

func grant(client *clientv3.Client, count int) []int64 {
	leases := make([]int64, count)
	for number := range leases {
		lease, err := client.Grant(context.Background(), 60)
		check(err)
		leases[number] = int64(lease.ID)
	}
	return leases
}

func renew(client *clientv3.Client, leases []int64, end time.Time, meter *meter) {
	stream, err := pb.NewLeaseClient(client.ActiveConnection()).LeaseKeepAlive(context.Background())
	check(err)
	sent := map[int64]time.Time{}
	send := func(lease int64) {
		sent[lease] = time.Now()
		check(stream.Send(&pb.LeaseKeepAliveRequest{ID: lease}))
	}
	for _, lease := range leases {
		send(lease)
	}
	for time.Now().Before(end) {
		response, err := stream.Recv()
		check(err)
		meter.add(sent[response.ID], 1, nil)
		send(response.ID)
	}
}
