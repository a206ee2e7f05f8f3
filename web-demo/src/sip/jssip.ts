/** The types of JsSIP that its package root does not name. */
export type { IncomingRTCSessionEvent, OutgoingRTCSessionEvent, UAConfiguration } from 'jssip/lib/UA';
export type { IncomingEvent, OutgoingEvent, RTCSession } from 'jssip/lib/RTCSession';
