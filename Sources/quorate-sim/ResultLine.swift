internal import Basics
internal import Simulator

/// The result of a seed as one process tells it to another, in one line.
enum ResultLine {
    private static let title = "result"

    /// What is a number in a result; a new one is passed on as soon as it stands here.
    private static var numbers: [WritableKeyPath<Simulation.Result, Int>] {
        [
            \.nodeCount, \.eventCount, \.entryCount, \.mutationsAcknowledged, \.readsAnswered, \.outcomesUnknown,
            \.fencedWritesAccepted, \.fencedWritesRefused, \.fencesUsed, \.watchedChanges, \.historyChecked,
            \.leadersSeen, \.majoritiesHealed, \.registryCommands, \.registryRowsRead, \.registryChangesTold,
        ]
    }

    static func text(of result: Simulation.Result) -> String {
        let counts = numbers.map { result[keyPath: $0] } + FaultKind.allCases.map { result.faults[$0] }
        let words =
            [title, String(result.seed), hexadecimal(result.eventHash), String(result.simulatedTime.nanoseconds)]
            + counts.map(String.init)
        let violation = result.violation.map { " " + quoted($0).dropFirst().dropLast() } ?? ""
        return words.joined(separator: " ") + violation
    }

    /// Nil: the line is something else.
    static func result(in line: String) -> Simulation.Result? {
        let numbers = numbers
        let kinds = FaultKind.allCases
        let counted = 4 + numbers.count + kinds.count
        let words = line.split(separator: " ", maxSplits: counted, omittingEmptySubsequences: false)
        guard words.count >= counted, words[0] == title, let seed = UInt64(words[1]),
            let hash = UInt64(words[2], radix: 16), let time = Int64(words[3])
        else { return nil }
        let counts = words[4..<counted].compactMap { Int($0) }
        guard counts.count == numbers.count + kinds.count else { return nil }
        var result = Simulation.Result(seed: seed)
        result.eventHash = hash
        result.simulatedTime = Interval(nanoseconds: time)
        for (path, count) in zip(numbers, counts) { result[keyPath: path] = count }
        for (kind, count) in zip(kinds, counts.dropFirst(numbers.count)) { result.faults.add(kind, count) }
        if words.count > counted { result.violation = unquoted(words[counted]) }
        return result
    }

    private static func unquoted(_ text: Substring) -> String {
        var result = ""
        var isEscaped = false
        for character in text.unicodeScalars {
            if isEscaped {
                result.unicodeScalars.append(character == "n" ? "\n" : character)
                isEscaped = false
            } else if character == "\\" {
                isEscaped = true
            } else {
                result.unicodeScalars.append(character)
            }
        }
        return result
    }
}
