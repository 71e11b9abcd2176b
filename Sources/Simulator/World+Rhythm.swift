internal import Basics

/// A long world is bursts of work and faults, with lulls between. In a lull clients act now and then, sessions run out or are
/// kept, ticks are logged, clocks drift apart; faults strike, though rarely, and what strikes then meets a cluster at rest.
extension World {
    /// A world no longer than this is one burst.
    private static let longTime = Interval.seconds(60)
    private static let burstMin = Interval.milliseconds(1_000)
    private static let burstMax = Interval.milliseconds(5_000)
    private static let lullMin = Interval.seconds(20)
    private static let lullMax = Interval.seconds(90)

    func startRhythm() {
        guard settings.faultyTime > Self.longTime else { return }
        schedule(.rhythmChanges, after: rhythmChance.interval(Self.burstMin, Self.burstMax) + .seconds(2))
    }

    func rhythmChanges() {
        guard isFaulty else { return }
        isBusy.toggle()
        rhythmRound += 1
        tell(isBusy ? "a burst begins" : "a lull begins")
        schedule(
            .rhythmChanges,
            after: isBusy
                ? rhythmChance.interval(Self.burstMin, Self.burstMax) : rhythmChance.interval(Self.lullMin, Self.lullMax))
        // Whoever slept until then wakes up.
        for client in clients {
            schedule(.clientThinks(client: client.number, round: rhythmRound), after: nextThinkPause())
        }
        if settings.injectsFaults { schedule(.nextFault(round: rhythmRound), after: nextFaultPause()) }
    }

    func nextThinkPause() -> Interval {
        guard !isBusy else { return workChance.interval(.milliseconds(1), settings.thinkTimeMax) }
        return rhythmChance.interval(.milliseconds(100), settings.lullThinkTimeMax)
    }

    func nextFaultPause() -> Interval {
        guard !isBusy else { return faultChance.skewed(.milliseconds(50), settings.faultPauseMax) }
        return rhythmChance.interval(.milliseconds(500), settings.lullFaultPauseMax)
    }
}

/// A machine whose time stands still.
extension World {
    func sleep(_ node: SimNode, until end: Instant) {
        node.pausedUntil = end
        queue.add(.wake(node: node.number), at: end)
    }

    /// What came meanwhile happens now, in the order in which it came.
    func wake(_ node: SimNode) {
        guard node.pausedUntil <= now, !node.held.isEmpty else { return }
        let held = node.held
        node.held = []
        for event in held { queue.add(event, at: now) }
    }
}
