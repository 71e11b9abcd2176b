import Foundation
import Testing

/// The stories that a cluster of this kind has to survive are known by name, from papers and from what befell others.
/// Each is a test of that name; docs/TESTING.md says what must hold in it.
@Suite("Scenarios")
struct ScenarioNameTests {
    /// Where the core alone can show it.
    private static let core = [
        "voteSurvivesRestart", "ownVoteIsDurable", "preVoteChangesNothing", "preCandidateForgetsLeader",
        "inflatedTermReturns", "deafLeaderStepsDown", "voteComparesPersistedLog", "upToDateIsTermThenIndex",
        "learnerAskedVotes", "figureEight", "noopBeforeReads", "conflictBelowCommitRefused", "lateAppendDoesNotCut",
        "leaderCountsAfterPersist", "singleNodeWaits", "removedLeaderFinishes", "laggingCommitRecovers",
        "probeEndsByHeartbeat", "fullWindowRecovers", "removedNodeIsHarmless", "configurationFromSnapshot",
        "snapshotWaiterFallsBack", "slowFollowerGetsSnapshot", "readRoundOfOldLeader", "leaderTransfer",
    ]

    /// Where disks, networks and clients have to take part.
    private static let simulated = [
        "foreignPeerRefused", "appliedOnce", "replayIsDeterministic", "damagedAloneRefuses", "directoryEntrySynced",
        "readYourWriteElsewhere", "retryElsewhere", "newLeaderGrantsFullTimeout", "lockHandOver", "watchProperties",
        "revisionNeverFalls", "watchResumes",
    ]

    /// Those of both that real processes have to show as well.
    private static let real = [
        "voteSurvivesRestart", "deafLeaderStepsDown", "singleNodeWaits", "removedNodeIsHarmless", "foreignPeerRefused",
        "appliedOnce", "replayIsDeterministic", "damagedAloneRefuses", "readYourWriteElsewhere", "retryElsewhere",
        "newLeaderGrantsFullTimeout", "lockHandOver", "watchProperties", "revisionNeverFalls", "watchResumes",
    ]

    private static let tests = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()

    /// Names of the functions that stand right behind a `@Test`.
    private static func names(in target: String) throws -> Set<String> {
        let directory = tests.appending(path: target)
        let enumerator = FileManager.default.enumerator(at: directory, includingPropertiesForKeys: nil)
        var found: Set<String> = []
        for file in (enumerator?.allObjects as? [URL] ?? []) where file.pathExtension == "swift" {
            let text = try String(contentsOf: file, encoding: .utf8)
            for match in text.matches(of: /@Test\b[^{}]*?\bfunc (\w+)/) { found.insert(String(match.1)) }
        }
        try #require(!found.isEmpty, "no tests found in \(directory.path)")
        return found
    }

    @Test("each scenario is a test of its name", arguments: [("RaftCoreTests", core), ("SimulationTests", simulated)])
    func scenarioIsTested(target: String, scenarios: [String]) throws {
        let found = try Self.names(in: target)
        for name in scenarios { #expect(found.contains(name), "\(target) has no test \(name)") }
    }

    @Test("each scenario that real processes have to show is a test of its name there too", arguments: real)
    func scenarioIsTestedWithProcesses(name: String) throws {
        #expect(Self.core.contains(name) || Self.simulated.contains(name))
        #expect(try Self.names(in: "ServerTests").contains(name), "ServerTests has no test \(name)")
    }

    @Test("each scenario has its line in docs/TESTING.md, and each line is one of them")
    func scenariosAreDocumented() throws {
        let path = Self.tests.deletingLastPathComponent().appending(path: "docs/TESTING.md")
        let text = try String(contentsOf: path, encoding: .utf8)
        let parts = text.components(separatedBy: "\n## ")
        let chapter = try #require(parts.first { $0.hasPrefix("Named scenarios\n") })
        let rows = chapter.split(separator: "\n").compactMap { $0.firstMatch(of: /^\| `(\w+)`( ●)? \|/) }
        let listed = rows.map { String($0.1) }
        #expect(listed.sorted() == (Self.core + Self.simulated).sorted())
        #expect(rows.filter { $0.2 != nil }.map { String($0.1) }.sorted() == Self.real.sorted())
    }
}
