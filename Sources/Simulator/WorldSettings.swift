package import Basics

/// What a world is like. Everything that is nil is drawn from the seed.
package struct WorldSettings: Sendable {
    /// 1 to 7; 0: drawn.
    package var nodeCount = 0
    package var clientCount = 0
    /// How long faults strike.
    package var faultyTime = Interval.seconds(20)
    package var injectsFaults = true
    /// Between the faults and the end of all of them, a majority alone has to get well.
    package var healsMajorityFirst = true
    /// An operator changes the members all the time.
    package var changesMembers = false
    /// Some nodes begin with an old release.
    package var mixesReleases = false
    /// Nodes that begin with an old release, and stay so until somebody upgrades them.
    package var oldNodes: [Int] = []
    package var driftsClocks = true
    /// Which faults strike.
    package var focus = FaultFocus.all
    /// Everything else about the world is drawn too: who does what, which faults strike, how much goes into a message.
    package var isSwarm = false
    /// Bytes of log that a node keeps beyond what it needs to start; small, so that followers need snapshots.
    package var logRetention = 0
    package var segmentSize = 0
    /// Log bytes kept in memory for late followers.
    package var tailSizeMax = 0
    package var hasVolatileState = false
    /// Of a hundred worlds that are not said to have a volatile state, how many have one all the same.
    var volatilePercent = 15
    /// Watches among the clients; none unless asked for.
    package var watchCount = 0
    /// Clients that want to know who leads; none unless asked for.
    package var observerCount = 0
    /// Where it is given, nothing is lost either.
    package var networkDelayMax = Interval.zero
    /// Of a hundred pieces of bytes, how many come late because they were lost.
    var lossPercent = 0
    /// Of a hundred times that a fault is due, how often which one; 0 switches a class off for this seed.
    var enabled: [Bool] = []
    var faultPauseMax = Interval.seconds(2)
    var thinkTimeMax = Interval.milliseconds(150)
    /// The same between bursts.
    var lullFaultPauseMax = Interval.seconds(10)
    var lullThinkTimeMax = Interval.seconds(10)
    /// Of all clients; 0: drawn.
    package var sessionTimeout = Interval.zero
    /// Machines on which no member was founded.
    var spareCount = 0
    var operatorPauseMax = Interval.seconds(1)
    /// Nodes refuse what is more than a few requests, or connections of clients.
    package var hasTinyLimits = false
    var requestsPendingMax = 0
    var clientConnectionsMax = 0
    /// A snapshot is taken, and the whole cluster is restored from it.
    package var restores = false
    /// Half of what clients do is about elections and locks (CoordinationWorkload).
    package var coordinates = false
    /// Some clients stand for masters, and keep a registry of agents and frameworks (RegistryWorkload).
    package var hasRegistry = false
    /// Bounds of what the core sends; 0: those that ship.
    var entriesPerAppendMax = 0
    var inflightMessagesMax = 0
    /// Bytes of a snapshot's manifest in one message: few, so that all manifests come in several.
    var snapshotPieceSize = 512
    /// Entries between two checkpoints of the sessions.
    var checkpointInterval: UInt64 = 0
    var heartbeatInterval = Interval.milliseconds(100)

    package init() {}

    /// What a swarm's world is about.
    private func drawnAsSwarm(_ chance: inout Chance) -> WorldSettings {
        var drawn = self
        drawn.focus = chance.pick([.all, .all, .network, .storage])
        drawn.coordinates = chance.happens(percent: 60)
        drawn.watchCount = chance.pick([0, 2, 4])
        drawn.observerCount = chance.pick([0, 2])
        drawn.changesMembers = chance.happens(percent: 35)
        drawn.entriesPerAppendMax = chance.pick([1, 3, 64, 4_096])
        drawn.inflightMessagesMax = chance.pick([1, 4, 64])
        drawn.hasTinyLimits = chance.happens(percent: 25)
        drawn.restores = !drawn.changesMembers && chance.happens(percent: 15)
        return drawn
    }

    /// As often as they are here.
    private static let nodeCounts = [1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 4, 5, 5, 5, 5, 6, 7, 7]

    /// Each optional class of faults is on or off for a whole seed, so that rare mixtures come up as well as all at
    /// once.
    func drawn(_ chance: inout Chance, swarm: inout Chance, limits: inout Chance) -> WorldSettings {
        guard !isSwarm else {
            var world = drawnAsSwarm(&swarm)
            world.isSwarm = false
            return world.drawn(&chance, swarm: &swarm, limits: &limits)
        }
        var drawn = self
        let nodes = chance.pick(Self.nodeCounts)
        if nodeCount == 0 { drawn.nodeCount = nodes }
        let clients = chance.number(in: 6...10)
        if clientCount == 0 { drawn.clientCount = clients }
        let retention = chance.pick([0, 0, 16, 64, 256])
        if logRetention == 0 { drawn.logRetention = retention * 1_024 }
        let size = chance.pick([16, 32, 64, 256])
        if segmentSize == 0 { drawn.segmentSize = size * 1_024 }
        let tail = chance.pick([1, 8, 64, 16_384])
        if tailSizeMax == 0 { drawn.tailSizeMax = tail * 1_024 }
        // A quarter of it is the mean.
        let delay = chance.pick([1, 4, 20, 100, 400])
        let loss = chance.pick([0, 0, 0, 1, 5, 30])
        // Where both are high, nobody is ever elected, and nothing comes of all that is done.
        if injectsFaults, networkDelayMax == .zero { drawn.lossPercent = delay > 20 ? min(loss, 5) : loss }
        if networkDelayMax == .zero { drawn.networkDelayMax = .milliseconds(Int64(delay)) }
        drawn.driftsClocks = driftsClocks && chance.happens(percent: 70)
        drawn.hasVolatileState = hasVolatileState || chance.happens(percent: volatilePercent)
        drawn.faultPauseMax = .milliseconds(Int64(chance.pick([300, 1_000, 3_000])))
        drawn.thinkTimeMax = .milliseconds(Int64(chance.pick([40, 100, 300])))
        drawn.lullFaultPauseMax = .milliseconds(Int64(chance.pick([6_000, 15_000, 30_000])))
        drawn.lullThinkTimeMax = .milliseconds(Int64(chance.pick([8_000, 20_000])))
        let timeout = chance.pick([2, 5, 10])
        if sessionTimeout == .zero { drawn.sessionTimeout = .seconds(Int64(timeout)) }
        drawn.enabled = Fault.Class.allCases.map { _ in chance.happens(percent: 70) }
        if focus != .all {
            drawn.enabled = Fault.Class.allCases.map(focus.contains)
            drawn.faultPauseMax = min(drawn.faultPauseMax, .milliseconds(500))
        }
        drawn.checkpointInterval = chance.pick([50, 400, 65_536])
        drawn.heartbeatInterval = .milliseconds(Int64(chance.pick([100, 200, 300])))
        if hasTinyLimits {
            drawn.requestsPendingMax = limits.pick([1, 2, 4, 8])
            drawn.clientConnectionsMax = limits.pick([2, 4, 6, 1_000])
        }
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

/// Which classes of faults a world has. Fewer of them leave more time for what only they bring about.
package enum FaultFocus: Sendable {
    case all
    case network
    case storage

    func contains(_ fault: Fault.Class) -> Bool {
        switch fault {
        case .crash: true
        case .partition, .cut, .clog, .swizzle, .pause, .wireDamage, .clock, .transfer: self != .storage
        case .crashAll, .slowDisk, .diskError, .fullDisk, .bitFlip: self != .network
        }
    }
}
