import Basics
import ClientCore
import MetadataModel
import Testing
import Wire

@Suite struct ExactlyOnceTests {
    @Test(
        "through loss, late copies, leader changes and expiry: acknowledged means applied once, refused never",
        arguments: 1...300 as ClosedRange<UInt64>)
    func exactlyOnce(seed: UInt64) {
        var cluster = ModelCluster(seed: seed)
        let count = 60
        cluster.run(mutations: count)
        #expect(cluster.steps < 200_000, "seed \(seed): the client never rests")
        var lastOrdered = 0
        var applications: [String: Int] = [:]
        for key in cluster.log where !key.isEmpty { applications[key, default: 0] += 1 }
        for number in 1...count {
            let applied = applications["\(number)"] ?? 0
            #expect(applied <= 1, "seed \(seed): call \(number) was applied \(applied) times")
            guard let outcome = cluster.outcomes[CallID(UInt64(number))] else {
                Issue.record("seed \(seed): call \(number) never ended")
                continue
            }
            switch outcome {
            case .answered(let body, _):
                #expect(applied == 1, "seed \(seed): call \(number) was acknowledged and applied \(applied) times")
                var reader = ByteReader(body.rawSpan)
                if case .success(let revision)? = try? ReplyHead(decoding: &reader) {
                    #expect(
                        cluster.log[Int(revision.rawValue) - 1] == "\(number)",
                        "seed \(seed): call \(number) got another one's reply")
                }
            case .failed(let failure):
                if !failure.mayHaveTakenEffect {
                    #expect(applied == 0, "seed \(seed): call \(number) failed (\(failure.error)) and was applied")
                }
            }
        }
        // Those of the client's session, in the order in which they were called. What ended in `unknown` because a
        // session was lost may still take effect until the cluster ends that session too, beside the next one.
        for key in cluster.log {
            guard let number = Int(key), cluster.isOrdered(number),
                case .answered? = cluster.outcomes[CallID(UInt64(number))]
            else { continue }
            #expect(number > lastOrdered, "seed \(seed): call \(number) was applied after \(lastOrdered)")
            lastOrdered = number
        }
    }

    @Test("most calls are answered in spite of it all")
    func mostAreAnswered() {
        var answered = 0
        for seed in 1...20 as ClosedRange<UInt64> {
            var cluster = ModelCluster(seed: seed)
            cluster.run(mutations: 60)
            answered += cluster.outcomes.values.count { if case .answered = $0 { true } else { false } }
        }
        #expect(answered > 20 * 60 / 3, "\(answered) of 1200")
    }
}
