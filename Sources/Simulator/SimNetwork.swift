internal import Basics

/// One TCP connection. Bytes arrive in order and whole or not at all; it may be slow, stall while its way is blocked,
/// be cut at any byte, and each end learns of its end by itself.
final class SimConnection {
    enum End: Hashable {
        /// A node's process; `life` tells it from those before it.
        case node(Int, life: Int)
        case client(Int, number: UInt64)
    }

    /// One direction.
    struct Way {
        /// The last bytes arrive then; later ones no earlier.
        var lastArrival = Instant.zero
        /// Waiting while the way is blocked.
        var held: [[UInt8]] = []
        var heldCount = 0
        /// Arrived, and not yet a whole frame.
        var inbox: [UInt8] = []
        /// The sender has been told that it may not write for now.
        var isFull = false
        /// Closed by the sender while the way is blocked; the receiver learns of it later.
        var closesWhenFree = false
    }

    let caller: End
    let called: End
    var toCalled = Way()
    var toCaller = Way()
    var isOpenAtCaller = true
    var isOpenAtCalled = false
    /// The slot that the called node gave to a client.
    var slotNumber: UInt64 = 0
    /// The called node's replica has been told of this client.
    var isTaken = false
    /// What a node calls another for, and where, in a world whose members change.
    var purpose = SimCallPurpose.anything
    var address: String?

    init(caller: End, called: End) {
        self.caller = caller
        self.called = called
    }

    var isGone: Bool { !isOpenAtCaller && !isOpenAtCalled }

    func isOpen(atCalled: Bool) -> Bool { atCalled ? isOpenAtCalled : isOpenAtCaller }
    func way(toCalled: Bool) -> Way { toCalled ? self.toCalled : toCaller }
    func end(called: Bool) -> End { called ? self.called : caller }

    /// What has arrived and was not whole. It is gone here until it is put back.
    func takeInbox(toCalled: Bool) -> [UInt8] {
        var taken: [UInt8] = []
        if toCalled { swap(&taken, &self.toCalled.inbox) } else { swap(&taken, &toCaller.inbox) }
        return taken
    }

    func putBack(_ inbox: [UInt8], toCalled: Bool) {
        if toCalled { self.toCalled.inbox = inbox } else { toCaller.inbox = inbox }
    }
}

extension [UInt8] {
    /// Without a copy where nothing is left.
    mutating func drop(_ count: Int) {
        if count == self.count { self = [] } else { removeFirst(count) }
    }
}

/// Which hosts reach which. Nodes come first, then clients. Several faults may block one way; it is free when the last
/// of them has ended.
struct Reachability {
    private let count: Int
    private var blocks: [Int]
    /// A connection over a blocked way breaks after a while; over a clogged one it does not.
    private var clogs: [Int]

    init(hosts count: Int) {
        self.count = count
        blocks = [Int](repeating: 0, count: count * count)
        clogs = blocks
    }

    mutating func block(_ from: Int, _ to: Int) { blocks[from * count + to] += 1 }
    mutating func unblock(_ from: Int, _ to: Int) { blocks[from * count + to] -= 1 }
    mutating func clog(_ from: Int, _ to: Int) { clogs[from * count + to] += 1 }
    mutating func unclog(_ from: Int, _ to: Int) { clogs[from * count + to] -= 1 }

    /// Whatever hinders this way ends.
    mutating func free(_ from: Int, _ to: Int) {
        blocks[from * count + to] = 0
        clogs[from * count + to] = 0
    }

    func isBlocked(_ from: Int, _ to: Int) -> Bool { blocks[from * count + to] > 0 }
    func isStalled(_ from: Int, _ to: Int) -> Bool { isBlocked(from, to) || clogs[from * count + to] > 0 }
}

/// How fast the network of one world is.
struct NetworkSettings {
    var delayMin = Interval.microseconds(100)
    var delayMax = Interval.milliseconds(3)
    /// Of a hundred pieces of bytes, how many arrive in two parts.
    var splitPercent = 5
    /// Of a hundred pieces of bytes, how many are lost and come when they have been sent again.
    var lossPercent = 0
    static let resendAfter = Interval.milliseconds(200)
    static let resendsMax = 5
    /// Unsent bytes of a way above which its sender is told to wait.
    var highWaterMark = 8 * 1_024
    /// A connection whose way is blocked breaks after this long.
    var breakAfterMin = Interval.seconds(1)
    var breakAfterMax = Interval.seconds(6)
    /// A call that nobody answers.
    var dialTimeout = Interval.seconds(1)
    var redialMin = Interval.milliseconds(10)
    var redialMax = Interval.milliseconds(200)

    /// Far from what a local network is.
    var isSlow: Bool { delayMax >= .milliseconds(100) }
}

extension World {
    func host(of end: SimConnection.End) -> Int {
        switch end {
        case .node(let number, _): number
        case .client(let number, _): nodes.count + number
        }
    }

    func isAlive(_ end: SimConnection.End) -> Bool {
        switch end {
        case .node(let number, let life): nodes[number].life == life && nodes[number].isRunning
        case .client: true
        }
    }

    // MARK: Calling

    func dial(_ connection: SimConnection) {
        connections.append(connection)
        schedule(.dialArrived(connection), after: networkChance.skewed(network.delayMin, network.delayMax))
    }

    /// The call has reached the other machine, or has not.
    func dialArrived(_ connection: SimConnection) {
        let from = host(of: connection.caller)
        let to = host(of: connection.called)
        guard connection.isOpenAtCaller, isAlive(connection.caller) else { return }
        if reachability.isStalled(from, to) || reachability.isStalled(to, from) {
            schedule(.dialFailed(connection, isRefused: false), after: network.dialTimeout)
            return
        }
        let back = networkChance.skewed(network.delayMin, network.delayMax)
        guard isAlive(connection.called) else {
            schedule(.dialFailed(connection, isRefused: true), after: back)
            return
        }
        connection.isOpenAtCalled = true
        accepted(connection)
        schedule(.dialSucceeded(connection), after: back)
    }

    // MARK: Sending

    func send(_ bytes: [UInt8], over connection: SimConnection, toCalled: Bool) {
        guard !bytes.isEmpty, connection.isOpen(atCalled: !toCalled) else { return }
        let from = host(of: connection.end(called: !toCalled))
        let to = host(of: connection.end(called: toCalled))
        guard reachability.isStalled(from, to) else { return deliverLater(bytes, over: connection, toCalled: toCalled) }
        hold(bytes, in: connection, toCalled: toCalled)
    }

    private func hold(_ bytes: [UInt8], in connection: SimConnection, toCalled: Bool) {
        var way = connection.way(toCalled: toCalled)
        way.held.append(bytes)
        way.heldCount += bytes.count
        let fills = !way.isFull && way.heldCount > network.highWaterMark
        if fills { way.isFull = true }
        set(way, of: connection, toCalled: toCalled)
        if fills { counters.add(.slowReader) }
        if fills { writabilityChanged(connection, toCalled: toCalled, isWritable: false) }
    }

    private func set(_ way: SimConnection.Way, of connection: SimConnection, toCalled: Bool) {
        if toCalled { connection.toCalled = way } else { connection.toCaller = way }
    }

    private func deliverLater(_ bytes: [UInt8], over connection: SimConnection, toCalled: Bool) {
        guard bytes.count > 1, networkChance.happens(percent: network.splitPercent) else {
            return deliverWhole(bytes, over: connection, toCalled: toCalled)
        }
        let middle = networkChance.number(in: 1...bytes.count - 1)
        deliverWhole(Array(bytes[..<middle]), over: connection, toCalled: toCalled)
        deliverWhole(Array(bytes[middle...]), over: connection, toCalled: toCalled)
    }

    private func deliverWhole(_ bytes: [UInt8], over connection: SimConnection, toCalled: Bool) {
        let delay = networkChance.skewed(network.delayMin, network.delayMax) + resendTime()
        let last = toCalled ? connection.toCalled.lastArrival : connection.toCaller.lastArrival
        let arrival = max(last, now + delay)
        if toCalled { connection.toCalled.lastArrival = arrival } else { connection.toCaller.lastArrival = arrival }
        queue.add(.delivered(connection, toCalled: toCalled, bytes: bytes), at: arrival)
    }

    /// What is lost on a connection is only late, and all behind it too.
    private func resendTime() -> Interval {
        var time = Interval.zero
        guard network.lossPercent > 0 else { return time }
        var pause = NetworkSettings.resendAfter
        for _ in 0..<NetworkSettings.resendsMax {
            guard lossChance.happens(percent: network.lossPercent) else { break }
            counters.add(.drop)
            time = time + pause
            pause = pause + pause
        }
        return time
    }

    // MARK: Closing

    /// One end closes; the other learns of it when the news can reach it.
    func close(_ connection: SimConnection, atCalled: Bool) {
        guard connection.isOpen(atCalled: atCalled) else { return }
        if atCalled { connection.isOpenAtCalled = false } else { connection.isOpenAtCaller = false }
        let from = host(of: connection.end(called: atCalled))
        let to = host(of: connection.end(called: !atCalled))
        guard reachability.isStalled(from, to) else { return closeLater(connection, atCalled: !atCalled) }
        counters.add(.halfOpen)
        if atCalled { connection.toCaller.closesWhenFree = true } else { connection.toCalled.closesWhenFree = true }
    }

    private func closeLater(_ connection: SimConnection, atCalled: Bool) {
        var way = connection.way(toCalled: atCalled)
        way.lastArrival = max(way.lastArrival, now + networkChance.skewed(network.delayMin, network.delayMax))
        set(way, of: connection, toCalled: atCalled)
        queue.add(.closeArrived(connection, atCalled: atCalled), at: way.lastArrival)
    }

    /// Both ends lose the connection, and what is on its way is lost.
    func cut(_ connection: SimConnection) {
        for atCalled in [false, true] where connection.isOpen(atCalled: atCalled) {
            var way = connection.way(toCalled: atCalled)
            way.held = []
            way.inbox = []
            set(way, of: connection, toCalled: atCalled)
            endReached(connection, atCalled: atCalled)
        }
    }

    // MARK: Blocking

    /// Breaks what hangs on a blocked way after a while.
    func waysBlocked() {
        for connection in connections where !connection.isGone {
            let caller = host(of: connection.caller)
            let called = host(of: connection.called)
            guard reachability.isBlocked(caller, called) || reachability.isBlocked(called, caller) else { continue }
            schedule(
                .blockedTooLong(connection),
                after: networkChance.interval(network.breakAfterMin, network.breakAfterMax))
        }
    }

    func blockedTooLong(_ connection: SimConnection) {
        let caller = host(of: connection.caller)
        let called = host(of: connection.called)
        guard reachability.isBlocked(caller, called) || reachability.isBlocked(called, caller) else { return }
        cut(connection)
    }

    /// What was held goes on where its way is free again.
    func waysFreed() {
        connections.removeAll(where: \.isGone)
        for connection in connections {
            for toCalled in [false, true] {
                let from = host(of: connection.end(called: !toCalled))
                let to = host(of: connection.end(called: toCalled))
                guard !reachability.isStalled(from, to) else { continue }
                var way = connection.way(toCalled: toCalled)
                let held = way.held
                let wasFull = way.isFull
                let closes = way.closesWhenFree
                way.held = []
                way.heldCount = 0
                way.isFull = false
                way.closesWhenFree = false
                set(way, of: connection, toCalled: toCalled)
                for bytes in held { deliverLater(bytes, over: connection, toCalled: toCalled) }
                if closes { closeLater(connection, atCalled: toCalled) }
                if wasFull { writabilityChanged(connection, toCalled: toCalled, isWritable: true) }
            }
        }
    }
}
