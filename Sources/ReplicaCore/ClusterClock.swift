package import Basics

/// Makes cluster time: what the leader stamps on each record and apply takes for "now".
///
/// It starts at the first leader's wall clock. Within a term it advances with the leader's monotonic clock; a new leader
/// goes on from its last entry. It never falls and never jumps: a wall clock that differs pulls it by at most 1 % of the
/// time that passes, so an operator who sets a clock by an hour expires nobody's session.
package struct ClusterClock: Sendable {
    private var time: ClusterTime
    private var readAt: Instant

    /// - Parameters:
    ///   - last: time of the newest entry in the log; zero for an empty log.
    ///   - wall: this node's wall clock, used as it stands only where the log has no time yet.
    package init(last: ClusterTime, wall: ClusterTime, now: Instant) {
        time = last == .zero ? wall : last
        readAt = now
    }

    package mutating func read(now: Instant, wall: ClusterTime) -> ClusterTime {
        guard now > readAt else { return time }
        let passed = now - readAt
        let slewMax = passed / 100
        let advanced = time + passed
        let lag = wall - advanced
        let slew = min(max(lag, .zero - slewMax), slewMax)
        time = time + (passed + slew)
        readAt = now
        return time
    }
}
