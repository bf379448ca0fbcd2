package api

import (
	"github.com/sgkandale/sharelock/internal/auth"
	original "github.com/sgkandale/sharelock/proto/sharelock"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalphapb "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
)

// access is what a call needs. Every route and every method declares it; one without is refused.
type access struct {
	scope scope
	verb  auth.Verb
	// free calls do not count against a principal's calls per second: those that keep a lock or
	// give it back, so that a quota costs nobody a lock.
	free bool
}

// scope says on what a call needs its verb.
type scope uint8

const (
	// undeclared is the zero value: nobody has thought about it, so that nobody may call it.
	undeclared scope = iota
	// openToAll needs nothing, not even good credentials.
	openToAll
	// forCaller needs good credentials, or none.
	forCaller
	// onKey needs the verb on the key of the request.
	onKey
	// onAnyKey needs the verb on at least one key.
	onAnyKey
	// inHandler needs what the handler checks by itself, because only it knows the key.
	inHandler
)

var (
	needsNothing   = access{scope: openToAll}
	needsCaller    = access{scope: forCaller, free: true}
	needsAcquire   = access{scope: onKey, verb: auth.Acquire}
	needsRead      = access{scope: onKey, verb: auth.Read}
	needsForce     = access{scope: onKey, verb: auth.Force}
	needsReadOfAny = access{scope: onAnyKey, verb: auth.Read}
	needsAdmin     = access{scope: onAnyKey, verb: auth.Admin}
	// keepsLocks is needsAcquire of renewals and releases.
	keepsLocks = access{scope: onKey, verb: auth.Acquire, free: true}
	// needsChecks is of a call whose handler checks each of its keys.
	needsChecks = access{scope: inHandler}
	// releases is needsChecks of calls that give locks back.
	releases = access{scope: inHandler, free: true}
	// needsSession is of sessions, whose calls count one by one.
	needsSession = access{scope: inHandler, free: true}
)

// grpcAccess returns what the methods of all gRPC services need.
func grpcAccess() map[string]access {
	return map[string]access{
		pb.LockService_Acquire_FullMethodName:      needsAcquire,
		pb.LockService_Renew_FullMethodName:        keepsLocks,
		pb.LockService_Release_FullMethodName:      keepsLocks,
		pb.LockService_GiveUp_FullMethodName:       keepsLocks,
		pb.LockService_Get_FullMethodName:          needsRead,
		pb.LockService_List_FullMethodName:         needsChecks,
		pb.LockService_Watch_FullMethodName:        needsChecks,
		pb.LockService_CheckToken_FullMethodName:   needsRead,
		pb.LockService_History_FullMethodName:      needsRead,
		pb.LockService_ForceRelease_FullMethodName: needsForce,
		pb.LockService_Session_FullMethodName:      needsSession,

		pb.MeshService_GetMesh_FullMethodName:       needsReadOfAny,
		pb.MeshService_Locate_FullMethodName:        needsReadOfAny,
		pb.MeshService_GetRing_FullMethodName:       needsReadOfAny,
		pb.MeshService_GetActivity_FullMethodName:   needsReadOfAny,
		pb.MeshService_WhoAmI_FullMethodName:        needsCaller,
		pb.MeshService_Leave_FullMethodName:         needsAdmin,
		pb.MeshService_Decommission_FullMethodName:  needsAdmin,
		pb.MeshService_GetKeyring_FullMethodName:    needsAdmin,
		pb.MeshService_ChangeKeyring_FullMethodName: needsAdmin,
		pb.MeshService_GetLogLevel_FullMethodName:   needsAdmin,
		pb.MeshService_SetLogLevel_FullMethodName:   needsAdmin,
		pb.MeshService_GetDebug_FullMethodName:      needsAdmin,

		original.ShareLockService_Ping_FullMethodName:   needsNothing,
		original.ShareLockService_Lock_FullMethodName:   needsAcquire,
		original.ShareLockService_Unlock_FullMethodName: keepsLocks,

		healthpb.Health_Check_FullMethodName: needsNothing,
		healthpb.Health_List_FullMethodName:  needsNothing,
		healthpb.Health_Watch_FullMethodName: needsNothing,

		reflectionpb.ServerReflection_ServerReflectionInfo_FullMethodName:      needsReadOfAny,
		reflectionalphapb.ServerReflection_ServerReflectionInfo_FullMethodName: needsReadOfAny,
	}
}
