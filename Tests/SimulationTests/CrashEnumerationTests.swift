import Simulator
import Testing

/// A sample of what `quorate-sim --enumerate-crashes` does in full.
@Suite("Crashes at every point")
struct CrashEnumerationTests {
    @Test("the story comes by every kind of point, and everything in it happens")
    func storyIsWhole() {
        let result = CrashEnumeration.run(crashingAt: [], .process)
        #expect(result.violation == nil)
        #expect(result.crashes.isEmpty)
        #expect(result.steps == 8)
        for point in CrashPoint.allCases {
            #expect(result.pointsSeen[point.rawValue] > 0, "the story never comes by \(point)")
        }
    }

    @Test("a crash at one point or at two: nothing acknowledged is lost, and all is well again", arguments: CrashKind.allCases)
    func crashesAreSurvived(_ kind: CrashKind) {
        var struck: Set<CrashPoint> = []
        for point in stride(from: kind.rawValue * 5, to: 800, by: 41) {
            let result = CrashEnumeration.run(crashingAt: [point], kind)
            #expect(result.violation == nil, "crash at \(point), \(kind)")
            struck.formUnion(result.crashes)
        }
        for first in stride(from: 20 + kind.rawValue, to: 700, by: 190) {
            let result = CrashEnumeration.run(crashingAt: [first, first % 13], kind)
            #expect(result.violation == nil, "crashes at \(first) and \(first % 13), \(kind)")
        }
        #expect(struck.count >= 4, "\(struck)")
    }

    @Test("the same crash gives the same run")
    func isDeterministic() {
        let (one, other) = (
            CrashEnumeration.run(crashingAt: [300, 5], .power), CrashEnumeration.run(crashingAt: [300, 5], .power)
        )
        #expect(one.crashes.count == 2)
        #expect(one.eventHash == other.eventHash)
    }
}
