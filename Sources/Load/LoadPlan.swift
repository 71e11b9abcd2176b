package import Basics
internal import Wire

/// What a run is to do. Values are taken as they are: whoever makes a plan has looked at the bounds that are known
/// before the cluster is asked.
package struct LoadPlan: Sendable {
    package enum Workload: Hashable, Sendable {
        /// Puts of keys drawn at random.
        case write
        case read
        /// Reads and writes of keys drawn at random, so many of a hundred reads.
        case mixed(readPercent: Int)
        /// Puts of keys that others watch; an operation is a change that arrives at one watch.
        case watch(watchers: Int)
        case session(Sessions)
        /// If a key is there, it and another one are put.
        case transaction
        /// Each key once.
        case importing
        case registry(RegistryLoad)
    }

    package struct Sessions: Hashable, Sendable {
        package var count: Int
        package var timeout: Interval
        /// Sessions that one keep-alive names.
        package var perKeepAlive: Int

        package init(count: Int, timeout: Interval, perKeepAlive: Int) {
            self.count = count
            self.timeout = timeout
            self.perKeepAlive = perKeepAlive
        }
    }

    package var workload: Workload
    package var endpoints: [HostPort]
    package var tls: TLSFiles?
    /// How long the cluster may be silent: at the start, while keys are filled in, and for the last replies.
    package var timeout = Interval.seconds(5)
    /// Spread the connections over all endpoints; else all go to the leader.
    package var usesAllNodes = false
    package var connectionCount = 100
    /// Requests of each connection that have no reply yet.
    package var inFlight = 10
    /// Requests a second over all connections; nil: as many as there is room for.
    package var rate: Int?
    package var warmUp = Interval.seconds(1)
    /// Nil: until everything is done that there is to do, or until it is told to end.
    package var duration: Interval?
    package var keyCount = 10_000
    package var valueSize = 256
    /// Nothing but keys that begin with it is written.
    package var prefix = Array("bench/".utf8)
    package var readsStale = false
    package var seed: UInt64 = 1
    /// Server processes on this machine; nil: those that listen where the nodes are said to be.
    package var serverProcesses: [Int32]?

    package init(_ workload: Workload, endpoints: [HostPort]) {
        self.workload = workload
        self.endpoints = endpoints
    }
}

extension LoadPlan {
    /// Bytes of a value that a run with watches needs for itself.
    package static let watchedValueSizeMin = WriteStamp.size

    var recordKeys: NumberedKeys {
        guard case .watch = workload else { return NumberedKeys(prefix: prefix) }
        return NumberedKeys(prefix: watchedPrefix)
    }

    var watchedPrefix: [UInt8] { prefix + "watch/".utf8 }
    var sessionKeys: NumberedKeys { NumberedKeys(prefix: prefix + "session/".utf8) }

    /// Keys that one transaction fills in: as many as clients put together who have many to put.
    var putsTogether: Int { min(100, max(1, Limits.valueSizeMaxDefault / 2 / max(1, valueSize))) }

    /// What the cluster does not take, and what it would; nil when it takes all of it.
    func refusal(by limits: ConnectionLimits) -> String? {
        if inFlight > Int(limits.requestsMax) {
            return "--in-flight \(inFlight): the cluster takes at most \(limits.requestsMax) on a connection"
        }
        let valueSizeMax = Int(limits.valueSizeMax)
        // The values of a transaction count together, and it has two.
        let valuesMax = workload == .transaction ? valueSizeMax / 2 : valueSizeMax
        if valueSize > valuesMax { return "--value-size \(valueSize): the cluster takes at most \(valuesMax) bytes" }
        guard case .session(let sessions) = workload else { return nil }
        let milliseconds = sessions.timeout.nanoseconds / 1_000_000
        guard milliseconds < limits.sessionTimeoutMin || milliseconds > limits.sessionTimeoutMax else { return nil }
        return "--ttl: the cluster takes \(limits.sessionTimeoutMin) ms to \(limits.sessionTimeoutMax) ms"
    }

    /// Of the connections' own sessions. Where requests are rare, each connection has its turn only now and then.
    var ownSessionTimeout: Interval {
        guard let rate else { return Limits.sessionTimeoutDefault }
        let turn = Interval.seconds(Int64(connectionCount / rate + 1))
        return min(max(Limits.sessionTimeoutDefault, turn * 3), Limits.sessionTimeoutMax)
    }
}

/// Why there are no figures.
package struct LoadFailure: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Kind: Hashable, Sendable {
        /// What was asked for is more than the cluster takes.
        case usage
        case unavailable
    }

    package var kind: Kind
    package var message: String
    package var description: String { message }
}

extension LoadPlan.Workload {
    /// What there is to do has an end.
    var isList: Bool {
        switch self {
        case .importing: true
        case .registry(let load): load.count != nil
        case .write, .read, .mixed, .watch, .session, .transaction: false
        }
    }

    package var name: String {
        switch self {
        case .write: "write"
        case .read: "read"
        case .mixed: "mixed"
        case .watch: "watch"
        case .session: "session"
        case .transaction: "txn"
        case .importing: "import"
        case .registry(let load): load.name
        }
    }
}
