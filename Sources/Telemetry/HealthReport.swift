/// What was looked at, and how it is; a line each, for a person and for a script.
package struct HealthReport: Sendable {
    package struct Check: Sendable, Equatable {
        package var isPassed: Bool
        package var text: String
    }

    package private(set) var checks: [Check] = []

    package init() {}

    package var isPassed: Bool { checks.allSatisfy(\.isPassed) }

    /// - Parameters:
    ///   - ok: what there is to say when `condition` holds.
    ///   - failed: what is wrong when it does not, and what to do.
    package mutating func check(
        _ condition: Bool, ok: @autoclosure () -> String, failed: @autoclosure () -> String
    ) {
        checks.append(Check(isPassed: condition, text: condition ? ok() : failed()))
    }

    package var text: String {
        checks.map { "\($0.isPassed ? "ok" : "failed") \($0.text)\n" }.joined()
    }

    /// 200 when every check is passed, 503 otherwise.
    package var answer: HTTPAnswer { HTTPAnswer(isPassed ? .ok : .serviceUnavailable, text) }
}
