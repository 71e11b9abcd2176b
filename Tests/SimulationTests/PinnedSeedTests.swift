import Basics
import Simulator
import Testing

/// Every kind of fault strikes in some seed of a short list. Worlds change as the simulator grows, and with them what a
/// seed holds: so where the list lacks a kind other seeds are tried, up to a bound.
///
/// A kind that only such a search finds should get a seed in the list again: the test prints which one.
@Suite("Pinned seeds")
struct PinnedSeedTests {
    private struct Pinned: Hashable, Sendable {
        var profile: WorldProfile
        var seed: UInt64

        init(_ profile: WorldProfile, _ seed: UInt64) { (self.profile, self.seed) = (profile, seed) }
    }

    private static let pinned = [
        Pinned(.registry, 1), Pinned(.registry, 2), Pinned(.registry, 3), Pinned(.registry, 4),
        Pinned(.releases, 1), Pinned(.releases, 3), Pinned(.releases, 11), Pinned(.releases, 26), Pinned(.restore, 1),
        Pinned(.restore, 2), Pinned(.restore, 7), Pinned(.restore, 29), Pinned(.storage, 8), Pinned(.swarm, 1),
        Pinned(.swarm, 2), Pinned(.swarm, 8), Pinned(.swarm, 12), Pinned(.swarm, 14), Pinned(.swarm, 18),
        Pinned(.swarm, 21), Pinned(.swarm, 26), Pinned(.swarm, 29),
    ]
    /// Where these are not enough, as many seeds of each of their profiles are tried.
    private static let searchedMax: UInt64 = 40

    @Test("each kind of fault strikes in a pinned seed")
    func eachKindStrikes() async {
        var counters = FaultCounters()
        func missing() -> [FaultKind] { FaultKind.allCases.filter { counters[$0] == 0 } }
        func run(_ worlds: [Pinned]) async {
            await withTaskGroup(of: (Pinned, Simulation.Result).self) { group in
                for world in worlds {
                    group.addTask { (world, Simulation.run(seed: world.seed, settings: world.profile.settings)) }
                }
                for await (world, result) in group {
                    #expect(result.violation == nil, "profile \(world.profile.rawValue), seed \(world.seed)")
                    let before = missing()
                    counters.add(result.faults)
                    let found = before.filter { counters[$0] > 0 }.map(\.rawValue)
                    guard !Self.pinned.contains(world), !found.isEmpty else { continue }
                    print("to be pinned: seed \(world.seed) of profile \(world.profile.rawValue) has \(found)")
                }
            }
        }
        await run(Self.pinned)
        let profiles = WorldProfile.allCases.filter { profile in Self.pinned.contains { $0.profile == profile } }
        for seed in 1...Self.searchedMax where !missing().isEmpty {
            await run(profiles.map { Pinned($0, seed) }.filter { !Self.pinned.contains($0) })
        }
        for kind in missing() { Issue.record("\(kind.rawValue) strikes in no pinned seed") }
    }
}
