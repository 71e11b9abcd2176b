package import Basics

/// What a world is like. Everything that is nil is drawn from the seed.
package struct WorldSettings: Sendable {
    /// 3 or 5; 0: drawn.
    package var nodeCount = 0
    package var clientCount = 0
    /// How long faults strike.
    package var faultyTime = Interval.seconds(20)
    package var injectsFaults = true
    /// An operator changes the members all the time.
    package var changesMembers = false
    /// Some nodes begin with an old release.
    package var mixesReleases = false
    /// Nodes that begin with an old release, and stay so until somebody upgrades them.
    package var oldNodes: [Int] = []
    package var driftsClocks = true
    /// Bytes of log that a node keeps beyond what it needs to start; small, so that followers need snapshots.
    package var logRetention = 0
    package var segmentSize = 0
    /// Log bytes kept in memory for late followers.
    package var tailSizeMax = 0
    package var hasVolatileState = false
    /// Watches among the clients; none unless asked for.
    package var watchCount = 0
    package var networkDelayMax = Interval.zero
    /// Of a hundred times that a fault is due, how often which one; 0 switches a class off for this seed.
    var enabled: [Bool] = []
    var faultPauseMax = Interval.seconds(2)
    var thinkTimeMax = Interval.milliseconds(150)
    /// Of all clients; 0: drawn.
    package var sessionTimeout = Interval.zero
    /// Machines on which no member was founded.
    var spareCount = 0
    var operatorPauseMax = Interval.seconds(1)
    /// Half of what clients do is about elections and locks (CoordinationWorkload).
    package var coordinates = false

    package init() {}

    /// Each optional class of faults is on or off for a whole seed, so that rare mixtures come up as well as all at
    /// once.
    func drawn(_ chance: inout Chance) -> WorldSettings {
        var drawn = self
        let isFive = chance.happens(percent: 25)
        if nodeCount == 0 { drawn.nodeCount = isFive ? 5 : 3 }
        let clients = chance.number(in: 6...10)
        if clientCount == 0 { drawn.clientCount = clients }
        let retention = chance.pick([0, 0, 16, 64, 256])
        if logRetention == 0 { drawn.logRetention = retention * 1_024 }
        let size = chance.pick([16, 32, 64, 256])
        if segmentSize == 0 { drawn.segmentSize = size * 1_024 }
        let tail = chance.pick([1, 8, 64, 16_384])
        if tailSizeMax == 0 { drawn.tailSizeMax = tail * 1_024 }
        let delay = chance.pick([1, 5, 30, 100])
        if networkDelayMax == .zero { drawn.networkDelayMax = .milliseconds(Int64(delay)) }
        drawn.driftsClocks = driftsClocks && chance.happens(percent: 70)
        drawn.hasVolatileState = hasVolatileState || chance.happens(percent: 15)
        drawn.faultPauseMax = .milliseconds(Int64(chance.pick([300, 1_000, 3_000])))
        drawn.thinkTimeMax = .milliseconds(Int64(chance.pick([40, 100, 300])))
        let timeout = chance.pick([2, 5, 10])
        if sessionTimeout == .zero { drawn.sessionTimeout = .seconds(Int64(timeout)) }
        drawn.enabled = Fault.Class.allCases.map { _ in chance.happens(percent: 70) }
        if changesMembers {
            // There are more nodes, and more is to happen among them; the clients are as many, and slower.
            drawn.thinkTimeMax = max(drawn.thinkTimeMax, .milliseconds(150))
            drawn.spareCount = chance.number(in: 2...4)
            drawn.operatorPauseMax = .milliseconds(Int64(chance.pick([100, 500, 2_000])))
        }
        return drawn
    }

    /// Machines and clients, the operator's among them.
    var hostCount: Int { nodeCount + spareCount + clientCount + (changesMembers ? 1 : 0) }
}
