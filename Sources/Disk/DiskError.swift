/// An operation on a file or directory that failed. It always says what was asked of which path, and why the system
/// refused, because an operator will read it.
package struct DiskError: Error, Hashable, Sendable {
    package enum Kind: String, Hashable, Sendable {
        /// Only while reserving or creating: the caller has promised nothing yet and may go on without the space.
        case noSpace
        case notFound
        case alreadyExists
        /// Not ours to touch, or open to others when it must be private.
        case permission
        /// Another process holds the directory.
        case locked
        /// Everything else. After a failed write or sync the process must end: what is on disk is unknown, and a second
        /// sync would report a success that means nothing.
        case io
    }

    package enum Operation: String, Hashable, Sendable {
        case open, create, read, write, preallocate, sync, truncate, size, rename, remove, list, createDirectory
        case syncDirectory, freeSpace, lock, checkPermissions
    }

    package var kind: Kind
    package var operation: Operation
    package var path: String
    /// Where in the file, for reads and writes.
    package var offset: Int?
    package var reason: String

    package init(_ kind: Kind, _ operation: Operation, path: String, offset: Int? = nil, reason: String) {
        self.kind = kind
        self.operation = operation
        self.path = path
        self.offset = offset
        self.reason = reason
    }
}

extension DiskError: CustomStringConvertible {
    package var description: String {
        let place = offset.map { " at offset \($0)" } ?? ""
        return "\(operation.rawValue) \(path)\(place): \(reason)"
    }
}
