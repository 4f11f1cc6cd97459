"""When reps can be met and who has booked them: slots, holds, bookings and the calendars they stand in; knows no HTTP and no warehouse."""
