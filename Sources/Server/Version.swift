/// What this build is.
package enum Version {
    package static let current = "0.1.0"
    /// The highest feature level that it knows: kinds of log entries that all members must understand.
    package static let featureLevel: UInt32 = 1
}
