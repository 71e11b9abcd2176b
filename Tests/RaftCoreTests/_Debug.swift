import Testing
import Foundation
@Suite struct DebugRun {
    @Test func one() {
        let seed = UInt64(ProcessInfo.processInfo.environment["SEED"] ?? "0")!
        let count = UInt64(ProcessInfo.processInfo.environment["COUNT"] ?? "1")!
        for s in seed..<seed + count {
            let t = Date()
            var x = Schedule(seed: s); x.cluster.isTracing = false; x.run()
            FileHandle.standardError.write("seed \(s) \(x.cluster.now) elections \(x.cluster.elections) committed \(x.cluster.committed.count) trace \(x.cluster.trace.count) \(Date().timeIntervalSince(t))\n".data(using: .utf8)!)
        }
    }
}
