internal import Glibc

/// A file descriptor, closed exactly once, when the last reference goes.
final class PosixFile: File {
    let path: String
    private let descriptor: CInt

    init(path: String, descriptor: CInt) {
        self.path = path
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    func size() throws(DiskError) -> Int {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw .ofErrno(.size, path) }
        return Int(status.st_size)
    }

    func read(at offset: Int, count: Int) throws(DiskError) -> [UInt8] {
        var failure: CInt = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            filled = 0
            while filled < count {
                let got = pread(descriptor, buffer.baseAddress! + filled, count - filled, off_t(offset + filled))
                if got > 0 {
                    filled += got
                } else if got == 0 {
                    return
                } else if errno != EINTR {
                    failure = errno
                    return
                }
            }
        }
        guard failure == 0 else { throw DiskError(errno: failure, .read, path: path, offset: offset) }
        return bytes
    }

    func write(_ pieces: [[UInt8]], at offset: Int) throws(DiskError) {
        var position = offset
        var rest = pieces[...]
        while !rest.isEmpty {
            let group = rest.prefix(Self.piecesPerCallMax)
            rest = rest.dropFirst(group.count)
            try writeGroup(group, at: position)
            position += group.reduce(0) { $0 + $1.count }
        }
    }

    func preallocate(_ size: Int) throws(DiskError) {
        guard size > 0 else { return }
        while true {
            // Returns the error instead of setting errno.
            let failure = posix_fallocate(descriptor, 0, off_t(size))
            switch failure {
            case 0: return
            case EINTR: continue
            case ENOSPC, EDQUOT, EFBIG: throw DiskError(.noSpace, .preallocate, path: path, reason: text(of: failure))
            default: throw DiskError(errno: failure, .preallocate, path: path)
            }
        }
    }

    func sync() throws(DiskError) {
        // Not retried, not even after EINTR: a sync that has failed once may have dropped the pages that it was for.
        guard fdatasync(descriptor) == 0 else { throw .ofErrno(.sync, path) }
    }

    func beginSync(_ range: Range<Int>) {
        // For this advice Linux begins to write what is dirty. sync_file_range, which does nothing else, is a GNU
        // extension, and Swift does not import those.
        _ = posix_fadvise(descriptor, off_t(range.lowerBound), off_t(range.count), POSIX_FADV_DONTNEED)
    }

    func truncate(to size: Int) throws(DiskError) {
        guard ftruncate(descriptor, off_t(size)) == 0 else { throw .ofErrno(.truncate, path) }
    }

    /// Below every system's IOV_MAX, and a bound on the depth of `withVectors`.
    private static let piecesPerCallMax = 128

    private func writeGroup(_ pieces: ArraySlice<[UInt8]>, at offset: Int) throws(DiskError) {
        let total = pieces.reduce(0) { $0 + $1.count }
        var written = 0
        if pieces.count > 1 {
            var vectors: [iovec] = []
            vectors.reserveCapacity(pieces.count)
            let result = Self.withVectors(of: pieces, collectedIn: &vectors) { vectors in
                pwritev(descriptor, vectors, CInt(vectors.count), off_t(offset))
            }
            if result < 0 {
                guard errno == EINTR else { throw .ofErrno(.write, path, offset: offset) }
            } else {
                written = result
            }
        }
        guard written < total else { return }
        // One piece, or what a short vectored write has left over.
        var start = 0
        for piece in pieces {
            var done = max(0, min(piece.count, written - start))
            while done < piece.count {
                let result = piece.withUnsafeBytes { bytes in
                    pwrite(descriptor, bytes.baseAddress! + done, piece.count - done, off_t(offset + start + done))
                }
                if result > 0 {
                    done += result
                } else if result == 0 || errno != EINTR {
                    throw .ofErrno(.write, path, offset: offset + start + done)
                }
            }
            start += piece.count
        }
    }

    /// Calls `body` while every piece's storage is held in place.
    private static func withVectors(
        of pieces: ArraySlice<[UInt8]>, collectedIn vectors: inout [iovec], _ body: ([iovec]) -> Int
    ) -> Int {
        guard let first = pieces.first else { return body(vectors) }
        return first.withUnsafeBytes { bytes in
            let base = UnsafeMutableRawPointer(mutating: bytes.baseAddress)
            vectors.append(iovec(iov_base: base, iov_len: bytes.count))
            return withVectors(of: pieces.dropFirst(), collectedIn: &vectors, body)
        }
    }
}

func text(of errorNumber: CInt) -> String { String(cString: strerror(errorNumber)) }

extension DiskError {
    init(errno number: CInt, _ operation: Operation, path: String, offset: Int? = nil) {
        let kind: Kind =
            switch number {
            case ENOENT, ENOTDIR: .notFound
            case EEXIST: .alreadyExists
            case EACCES, EPERM, EROFS: .permission
            default: .io
            }
        self.init(kind, operation, path: path, offset: offset, reason: text(of: number))
    }

    static func ofErrno(_ operation: Operation, _ path: String, offset: Int? = nil) -> DiskError {
        DiskError(errno: errno, operation, path: path, offset: offset)
    }
}
