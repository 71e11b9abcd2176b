internal import FuzzSupport

// A client that speaks with nodes which say whatever they like, whenever they like: it ends their connections or its
// calls, and never itself.
Fuzzer.run([conversation])
