internal import Basics
package import StateEngine

/// Why a snapshot cannot be made, taken or installed. The state that is being served is untouched by all of these.
package enum SnapshotError: Error, Equatable, Sendable {
    /// Bytes are not what they claim to be; says which.
    case damaged(String)
    /// Made by a release that this one does not understand.
    case unsupported(String)
    /// The engine that is to receive the rows holds some already.
    case targetNotEmpty
    case engine(EngineError)

    static func damaged(_ what: String, _ error: DecodeError) -> SnapshotError {
        if case .unknown = error { return .unsupported("\(what): \(error)") }
        return .damaged("\(what): \(error)")
    }
}

extension SnapshotError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .damaged(let text): "damaged snapshot: \(text)"
        case .unsupported(let text): "snapshot of an unknown kind: \(text)"
        case .targetNotEmpty: "a snapshot can only be installed into an empty engine"
        case .engine(let error): "\(error)"
        }
    }
}
