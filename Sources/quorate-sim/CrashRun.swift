internal import Glibc
internal import Simulator

/// `--enumerate-crashes`: one short story, told with a crash at each of its points, and then with two.
enum CrashRun {
    /// - Parameter pairs: how many stories with two crashes; they are spread evenly over all that there are.
    /// - Parameter stride: 1 for each point, n for each n-th.
    /// - Returns: false when a story went wrong.
    static func run(pairs: Int, stride: Int, asJSON: Bool) -> Bool {
        var tally = Tally()
        let quiet = CrashEnumeration.run(crashingAt: [], .process)
        tally.add(quiet, [], .process)
        let total = quiet.pointsLeft
        guard quiet.violation == nil, total > 0 else {
            tally.write(total: total, asJSON: asJSON)
            return false
        }
        for kind in CrashKind.allCases {
            var point = 0
            while true {
                let result = CrashEnumeration.run(crashingAt: [point], kind)
                guard !result.crashes.isEmpty else { break }
                tally.add(result, [point], kind)
                point += stride
            }
        }
        tally.singles = tally.passed + tally.failures.count - 1
        // The golden ratio leaves no two of them close together, however many there are.
        var (first, second) = (0.0, 0.0)
        for number in 0..<pairs {
            first = (first + 0.754_877_666_246_692_7).truncatingRemainder(dividingBy: 1)
            second = (second + 0.569_840_290_998_053_2).truncatingRemainder(dividingBy: 1)
            // The second crash is mostly soon after the first, while what that has left is being mended.
            let points = [Int(first * Double(total)), Int(second * second * Double(total))]
            guard let kind = CrashKind(rawValue: number % CrashKind.allCases.count) else { continue }
            tally.add(CrashEnumeration.run(crashingAt: points, kind), points, kind)
        }
        tally.write(total: total, asJSON: asJSON)
        return tally.failures.isEmpty
    }

    /// One of them, line by line.
    static func replay(_ points: [Int], kind: Int) -> Bool {
        let result = CrashEnumeration.run(crashingAt: points, CrashKind(rawValue: kind) ?? .process) { print($0) }
        print(result.violation ?? "passed: crashes \(result.crashes), \(result.acknowledged) writes acknowledged")
        return result.violation == nil
    }

    private struct Tally {
        var passed = 0
        var singles = 0
        var failures: [String] = []
        var crashesByPoint = [Int](repeating: 0, count: CrashPoint.allCases.count)

        mutating func add(_ result: CrashEnumeration.Result, _ points: [Int], _ kind: CrashKind) {
            for point in result.crashes { crashesByPoint[point.rawValue] += 1 }
            guard let violation = result.violation else {
                passed += 1
                return
            }
            let list = points.map(String.init).joined(separator: ",")
            failures.append(violation)
            print("crash at \(list) (\(result.crashes), \(kind)) FAILED: \(violation)")
            print("  replay: quorate-sim --crash-at \(list) --crash-kind \(kind.rawValue)")
            fflush(nil)
        }

        func write(total: Int, asJSON: Bool) {
            let counts = CrashPoint.allCases.map { ("\($0)", crashesByPoint[$0.rawValue]) }
            if asJSON {
                let list = counts.map { "\"\($0.0)\":\($0.1)" }.joined(separator: ",")
                print("{\"points\":\(total),\"passed\":\(passed),\"failed\":\(failures.count),\"crashes\":{\(list)}}")
                return
            }
            print("\(total) points; \(singles) stories with one crash, \(passed + failures.count - singles - 1) with two")
            print("crashes: " + counts.map { "\($0.0) \($0.1)" }.joined(separator: ", "))
            print("\(passed) passed, \(failures.count) failed")
        }
    }
}
